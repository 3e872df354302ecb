"""leaf_st against other distillations: the same teacher, texts, vectors and minutes of training, measured side by side.

Command:  python recipes/benchmarks/peers.py --texts FILE --data FOLDER [FOLDER ...] [--minutes 5] [--limit N]
          [--output OUTPUT] [--work WORK]

The teacher, all-MiniLM-L6-v2, embeds the texts once. Then each way trains for the same minutes: leaf_st with the
recipes leaf_mini.py and leaf_static.py, and the programs in `peers/` with the documented settings of their packages.
Each program runs in an environment of pinned packages, which is built once in WORK (1.5 GB each with torch for the
CPU). The time in which a package uses the teacher by itself has its own column. Trials that show the speed count only
in the total. sentence-transformers reads all trained models. The table shows nDCG@10 retention and agreement@10 with
the student on both sides (standard) and with student queries against the teacher's documents (asymmetric), as means
over the BEIR folders, and queries per second on one core in batches of 32. The rows are in OUTPUT/peers.json, the
scores of each set in OUTPUT/agreement_and_retention.json. The same command resumes: trained models and measured sets
are kept. Exit code 1: a way failed.

Result:   Five minutes on two slow cores, six sets: leaf_st keeps 96.1 % of the teacher's nDCG@10 in standard and 96.7 %
          in asymmetric mode, sentence-transformers' recipe 92.2 % and 95.7 %, EasySmallEmbeddingModel 86.9 % and
          94.2 %. Static students: leaf_st 83.9 % and 90.4 %, pynife 81.7 % and 84.8 %, tokenlearn 68.2 % in standard
          mode.
          README.md has the table.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _environments import PIP, Failed, Skipped, benchmark_parser, prepare, run_in
from agreement_and_retention import NAME as POINTS
from agreement_and_retention import Point, measure_set
from sentence_transformers import SentenceTransformer

import leaf_st
from leaf_st.atomic import replace_folder, write_json
from leaf_st.cli.console import messages_shown, quieten
from leaf_st.errors import InputError, exit_on_error
from leaf_st.evaluation.beir import check_folders, load_beir
from leaf_st.evaluation.measurements.training import TRAINING
from leaf_st.evaluation.modes import STUDENT_MODES, Mode
from leaf_st.evaluation.results import retention_percent
from leaf_st.evaluation.rows import part_file, read_or_make, read_rows, write_rows
from leaf_st.models.find import find_model
from leaf_st.models.load import load_model
from leaf_st.models.precision import bfloat16_is_fast
from leaf_st.pipeline.recipe_file import load_recipe
from leaf_st.pipeline.run import Run
from leaf_st.recipe import Recipe
from leaf_st.run_folder import MODEL, RESULTS, STORE
from leaf_st.tables import aligned
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.protocol import Teacher
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.training.trainer import untrained_rows

LEAST_QUERIES = 1024  # whose encoding is timed; the queries of small sets are repeated
ROUNDS = 5  # of the timing, in which the models alternate
_BATCH = 32
# leaf_st validates within its minutes, the other programs do not.
_FEW_VALIDATIONS = ("training.held_out_rows=64", "eval_steps=0.5", "save_steps=0.5")
_RECIPES = Path(__file__).resolve().parents[1]
_PROGRAMS = Path(__file__).resolve().with_suffix("")
# Names of leaf_st's students, and their recipes.
OWN = {"leaf_st": "leaf_mini.py", "leaf_st-static": "leaf_static.py"}


@dataclass(frozen=True)
class Peer:
    """A program that trains a student of the same teacher.

    Attributes:
        program: File in `peers/`.
        environment: Key of `PIP`.
    """

    program: str
    environment: str


PEERS = {
    "sentence-transformers": Peer("with_sentence_transformers.py", "peer-sentence-transformers"),
    "EasySmallEmbeddingModel": Peer("with_easy_small.py", "peer-easy-small"),
    "pynife": Peer("with_pynife.py", "peer-pynife"),
    "model2vec-tokenlearn": Peer("with_tokenlearn.py", "peer-tokenlearn"),
}


@dataclass(frozen=True)
class Trained:
    """A training that is finished.

    Attributes:
        model: Folder of the student, which sentence-transformers reads.
        steps: Optimizer steps; None if the program does not count them.
        seconds: Time of the training.
        embedding_seconds: Time in which the program used the teacher, besides the training; None if it is not known.
        total_seconds: Time of the program, with the start of the student, trials, reading and saving.
        versions: Versions by package.
    """

    model: str
    steps: int | None
    seconds: float
    embedding_seconds: float | None
    total_seconds: float
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """The result of one way to distil.

    Attributes:
        name: Name of the way.
        trained: The training; None if it failed.
        parameters: Number of parameters of the student.
        queries_per_second: Queries per second on one core.
        retention: nDCG@10 retention in percent over all sets, by mode; None if the teacher's score is too low.
        agreement: Mean agreement@10 in percent over all sets, by mode.
        reasons: Why the way failed, or why a mode has no value.
    """

    name: str
    trained: Trained | None = None
    parameters: int | None = None
    queries_per_second: float | None = None
    retention: Mapping[Mode, float | None] = field(default_factory=dict)
    agreement: Mapping[Mode, float] = field(default_factory=dict)
    reasons: Sequence[str] = ()


@dataclass(frozen=True)
class Setting:
    """What all ways share.

    Attributes:
        base: leaf_st's run that made the vectors.
        store: Its texts and vectors.
        minutes: Minutes of each training.
        output: Folder of models and results.
        work: Folder of the environments.
    """

    base: Run
    store: EmbeddingStore
    minutes: float
    output: Path
    work: Path

    @property
    def given(self) -> Path:
        """Folder of the texts and vectors that the programs read."""
        return self.output / f"given-{self.store.digest}"

    def train(self, name: str) -> Trained:
        """Train the student ``name``, or read the result of a finished training.

        Raises:
            Failed: If the program fails.
            InputError: If leaf_st cannot train.
        """
        if name in OWN:
            program, versions, train = _RECIPES / OWN[name], [leaf_st.__version__], self._train_own
        else:
            peer = PEERS[name]
            program, versions, train = _PROGRAMS / peer.program, PIP[peer.environment], self._train_peer
        made_of = [self.store.digest, f"{self.minutes:g}", program.read_text(encoding="utf-8"), *versions]
        part = part_file(self.output, "peers", name, *made_of)
        folder = self.output / "models" / part.stem
        return read_or_make(part, Trained, lambda: [train(name, program, folder)])[0]

    def _train_own(self, name: str, program: Path, folder: Path) -> Trained:
        own = load_recipe(program, [*_FEW_VALIDATIONS, f"training.budget_minutes={self.minutes}"])
        run = Run(replace(self.base.recipe, name=own.name, student=own.student, training=own.training), folder)
        if not (folder / STORE).is_dir():
            link = partial(shutil.copytree, self.store.folder, copy_function=os.link)
            replace_folder(folder / STORE, link)
        started = time.perf_counter()
        run.train()
        total = time.perf_counter() - started
        last = read_rows(folder / RESULTS / TRAINING.file, TRAINING.row)[-1]
        versions = {"leaf_st": leaf_st.__version__}
        return Trained(str(folder / MODEL), last.step, last.train_runtime, None, total, versions)

    def _train_peer(self, name: str, program: Path, folder: Path) -> Trained:
        if not self.given.is_dir():
            replace_folder(self.given, self._give)
        for left in folder.parent.glob(f"{folder.name}*"):  # of a training that was stopped
            shutil.rmtree(left)
        folder.parent.mkdir(parents=True, exist_ok=True)
        environment = PEERS[name].environment
        prepare(environment, self.work)  # is not timed
        started = time.perf_counter()
        written = run_in(environment, self.work, program, self.given, folder, f"{self.minutes:g}")
        report = json.loads(written.splitlines()[-1])
        return Trained(str(folder), total_seconds=time.perf_counter() - started, **report)

    def _give(self, folder: Path) -> None:
        """Write the texts that leaf_st trains on, their vectors, and the common settings to ``folder``."""
        recipe, store = self.base.recipe, self.store
        rows = np.setdiff1d(np.arange(len(store)), untrained_rows(store, recipe.training)).tolist()
        folder.mkdir(parents=True)
        with (folder / "texts.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": row.text, "kind": row.kind}) + "\n" for row in store.texts(rows))
        np.save(folder / "vectors.npy", store.embeddings(rows).astype(np.float32))
        teacher = find_model(recipe.teacher.model, recipe.teacher.revision).resolve()
        halves = bfloat16_is_fast(torch.device("cpu"))
        settings = {"teacher": str(teacher), "layers": recipe.student.layers, "bfloat16": halves}
        write_json(folder / "settings.json", settings)


def outcomes_of(setting: Setting, names: Sequence[str], sets: Sequence[Path]) -> list[Outcome]:
    """Train and measure the ways ``names`` on the BEIR folders ``sets``."""
    outcomes = {name: _trained(setting, name) for name in names}
    pairs, folders = {}, {}
    teacher = open_teacher(replace(setting.base.recipe.teacher, precision="float32"), "cpu")
    for name, outcome in outcomes.items():
        if outcome.trained is not None:
            try:
                pairs[name] = teacher, load_model(outcome.trained.model, device="cpu")
                folders[name] = outcome.trained.model
            except InputError as error:
                outcomes[name] = replace(outcome, reasons=[f"sentence-transformers cannot read the model: {error}"])
    points = [point for folder in sets for point in measure_set(folder, pairs, setting.output)]
    write_rows(setting.output / f"{POINTS}.json", points)
    queries = [row["text"] for folder in sets for row in load_beir(folder).queries]
    for name, (parameters, rates) in measure_one_core(folders, queries).items():
        outcome = replace(outcomes[name], parameters=parameters, queries_per_second=rates[_BATCH])
        outcomes[name] = with_scores(outcome, [point for point in points if point.model == name], *pairs[name])
    return list(outcomes.values())


def _trained(setting: Setting, name: str) -> Outcome:
    print(f"{name}: {setting.minutes:g} minutes of training", flush=True)
    try:
        return Outcome(name, setting.train(name))
    except (Failed, Skipped, InputError) as error:
        return Outcome(name, reasons=[str(error)])


def with_scores(outcome: Outcome, points: Sequence[Point], teacher: Teacher, student: SentenceTransformer) -> Outcome:
    """Return ``outcome`` with the means of ``points`` over all sets; the retention is that of the mean scores."""
    retention: dict[Mode, float | None] = {}
    agreement: dict[Mode, float] = {}
    reasons = []
    for mode in STUDENT_MODES:
        if found := [point for point in points if point.mode == mode]:
            score, expected = np.mean([[point.score, point.teacher_score] for point in found], axis=0).tolist()
            retention[mode] = retention_percent(score, expected)
            agreement[mode] = statistics.fmean(point.agreement for point in found)
        else:
            ours, theirs = student.get_embedding_dimension(), teacher.fingerprint.dimension
            reasons.append(f"no {mode} mode: the student's vectors have {ours} dimensions, the teacher's {theirs}")
    return replace(outcome, retention=retention, agreement=agreement, reasons=reasons)


def measure_one_core(folders: Mapping[str, str], queries: Sequence[str]) -> dict[str, tuple[int, dict[int, float]]]:
    """Return the result of `query_speed.measure_models` for the models in ``folders``, from a new process."""
    repeated = ([*queries] * -(-LEAST_QUERIES // len(queries)))[: max(LEAST_QUERIES, len(queries))]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure_models, dict(folders), repeated, ROUNDS).result()


def _measure_models(
    folders: Mapping[str, str], queries: Sequence[str], rounds: int
) -> dict[str, tuple[int, dict[int, float]]]:
    from query_speed import measure_models  # limits the process that imports the module to one core

    return measure_models(folders, queries, rounds, [_BATCH])


def format_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Return the table, followed by the reasons of missing values."""
    values = [f"{value}, {mode}" for value in ("nDCG@10 kept", "agreement@10") for mode in STUDENT_MODES]
    lines = [["", "versions", "minutes", "teacher besides", "in all", "steps", "parameters", "queries/s", *values]]
    for row in outcomes:
        scores = [shares.get(mode) for shares in (row.retention, row.agreement) for mode in STUDENT_MODES]
        size = _cell(row.parameters, lambda count: f"{count / 1e6:.1f}M")
        speed = _cell(row.queries_per_second, lambda rate: f"{rate:,.0f}")
        percents = [_cell(score, lambda share: f"{share:.1f} %") for score in scores]
        lines.append([row.name, *_training_cells(row.trained), size, speed, *percents])
    return "\n".join([aligned(lines, left=2), *(f"{row.name}: {reason}" for row in outcomes for reason in row.reasons)])


def _training_cells(trained: Trained | None) -> list[str]:
    if trained is None:
        return ["-"] * 5
    versions = ", ".join(f"{name} {version}" for name, version in trained.versions.items())
    times = (trained.seconds, trained.embedding_seconds, trained.total_seconds)
    minutes = [_cell(seconds, lambda time: f"{time / 60:.1f}") for seconds in times]
    return [versions, *minutes, _cell(trained.steps, lambda count: f"{count:,}")]


def _cell(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)


def base_recipe(texts: str, limit: str | None, sets: Sequence[Path]) -> Recipe:
    """Return the recipe of leaf_mini.py on ``texts``, without texts of the evaluation ``sets``."""
    settings = [*_FEW_VALIDATIONS, f"texts.source={texts}", *([] if limit is None else [f"texts.limit={limit}"])]
    recipe = load_recipe(_RECIPES / OWN["leaf_st"], settings)
    return replace(recipe, evaluate_on=[str(folder) for folder in sets])


def main() -> None:
    """Print a row for each way to distil."""
    parser = benchmark_parser(__doc__, Path("build/peers"))
    known = [*OWN, *PEERS]
    parser.add_argument("--texts", required=True, metavar="FILE", help="training texts: a table with a column `kind`")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="FOLDER", help="BEIR folders")
    parser.add_argument("--minutes", type=float, default=5, help="minutes of each training (default: %(default)s)")
    parser.add_argument("--limit", metavar="N", help="maximum number of texts (default: all)")
    parser.add_argument(
        "--only", nargs="+", choices=known, default=known, metavar="NAME", help=f"of {', '.join(known)}"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/peers"),
        metavar="DIR",
        help="models and results (default: %(default)s)",
    )
    options = parser.parse_args()
    quieten()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # every way trains on the CPU
    with (
        exit_on_error("peers", "the same command resumes: vectors, models and measured sets are kept"),
        messages_shown("peers"),
    ):
        outcomes = _run(options)
    sys.exit(any(not row.retention for row in outcomes))


def _run(options: argparse.Namespace) -> list[Outcome]:
    check_folders(options.data)
    output = options.output.resolve()
    base = Run(base_recipe(options.texts, options.limit, options.data), output / "texts")
    store = base.embed()
    assert store is not None  # the only partition completes the store
    setting = Setting(base, store, options.minutes, output, options.work.resolve())
    outcomes = outcomes_of(setting, options.only, options.data)
    write_json(output / "peers.json", [asdict(row) for row in outcomes])
    print(format_outcomes(outcomes))
    return outcomes


if __name__ == "__main__":
    main()
