"""Malformed files and generated rows through the commands of leaf-st: no traceback, one line of error, bounded memory.

Source:   The commands promise exit code 2 and one line for input that cannot be used (`leaf_st.errors`).
Command:  python recipes/benchmarks/fuzz.py [--files 300] [--rows 10000] [--seed 0] [--minutes 30] [--output fuzz]
          python recipes/benchmarks/fuzz.py --seed 0 --only 17 42     (repeat single cases)
Hardware: 2 cores of an EPYC, one of them busy with other work: 4.5 minutes for files and rows.
Result:   Seeds 0 and 1: all 300 files and 10,000 rows of each seed end in a result or in one line of error, with less
          than 1 GB of memory.

The script makes one valid copy of every file that leaf-st reads: texts and vectors in each format, a retrieval set, a
recipe, a run with its store, model and results. A case damages one file (`_malformed.py`) and runs a command that reads
the file in a forked process (`_forked.py`). A case fails if the command ends with another exit code than 0 or 2 (or 1,
with which `verify` reports a failed check), prints a traceback, explains exit code 2 with anything but one line, needs
more than 1 GB of resident memory, exceeds its time limit, or writes outside the folders that it names. Files of
generated rows are embedded; each usable text of them must be in the store. A case depends only on its seed and number.
The folder of a failed case stays in --output. The script runs on Linux.
"""

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import _forked
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _malformed import damages
from tqdm import tqdm

from leaf_st.models.random_weights import WIDTH, save_tiny_teacher
from leaf_st.teacher.store import EmbeddingStore
from leaf_st.texts.check import flaw

MEGABYTES = 1000.0
SECONDS = 60.0
ROWS_PER_FILE = 250
_LINE = 2100  # characters of an error, which shortens the values it names
_TEXTS = 40
_RECIPE = """
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec

recipe = Recipe(
    name="fuzzed",
    texts=TextsSpec(source="texts.jsonl"),
    teacher=TeacherSpec(model="teacher"),
    student=StudentSpec(layers=(0, 2)),
    training=TrainingSpec(arguments={"max_steps": 2}),
    evaluate_on=("set",),
)
"""
_EMBED = "embed recipe.py --output out --set texts.source={path}"
_PLAN = "run recipe.py --dry-run --output out --set texts.source={path}"
_SEARCH = "search leaf --model run/model --documents {path}"
_EVALUATE = "evaluate run/model --tasks set --modes standard --output out"
_GIVEN = (
    "embed recipe.py --output out --set texts.source={path} --set teacher.vector_column=vector "
    "--set student.backbone=teacher"
)
_REPORT, _CARD = "report run", "card run --repo-id a/b"
_PUSH, _VERIFY = "push run --dry-run --repo-id a/b", "verify run/model"
_MODEL = ("search leaf --model run/model --documents texts.txt", _EVALUATE)
_RESUME = ("embed recipe.py --output run", "train recipe.py --output run", "measure alignment run --output out")
# The commands that read each file; a file and a command are drawn with equal probabilities.
TARGETS: dict[str, Sequence[str]] = {
    **dict.fromkeys(
        ("texts.jsonl", "texts.csv", "texts.tsv", "texts.txt", "texts.parquet", "texts.arrow", "texts.feather"),
        (_EMBED, _PLAN, _SEARCH),
    ),
    **dict.fromkeys(("texts.jsonl", "texts.csv", "texts.parquet", "texts.arrow"), (_EMBED, _PLAN, _SEARCH, _GIVEN)),
    "vectors.npy": (_GIVEN.replace("{path}", "texts.csv").replace("=vector ", "={path} "),),
    **dict.fromkeys(
        ("set/corpus.jsonl", "set/queries.jsonl", "set/qrels.tsv"),
        (_EVALUATE, "run recipe.py --dry-run --output out", "measure index run --data set --output out"),
    ),
    **dict.fromkeys(
        ("hub/corpus/0.parquet", "hub/queries/0.parquet", "hub/qrels/0.parquet"), (_EVALUATE.replace("set", "hub"),)
    ),
    "pairs.parquet": (_EVALUATE.replace("set", "pairs.parquet"),),
    "recipe.py": ("run recipe.py --dry-run --output out", "embed recipe.py --output out", "screen recipe.py"),
    "run/recipe.json": (_REPORT, _CARD, _PUSH, _EVALUATE.replace("run/model", "run"), *_RESUME),
    "run/results/tasks.json": (_REPORT, _CARD, _PUSH, _EVALUATE.replace("out", "run/results")),
    **dict.fromkeys(
        ("run/results/agreement.json", "run/results/alignment.json", "run/results/training.json"), (_REPORT, _CARD)
    ),
    "run/results/models.json": (_REPORT, _CARD, _EVALUATE.replace("out", "run/results")),
    **dict.fromkeys(("run/store/manifest.json", "run/store/fingerprint.json", "run/store/shard-*.arrow"), _RESUME),
    **dict.fromkeys(
        (
            "run/model/config.json",
            "run/model/modules.json",
            "run/model/tokenizer.json",
            "run/model/tokenizer_config.json",
            "run/model/model.safetensors",
            "run/model/1_Pooling/config.json",
            "run/model/2_Dense/config.json",
            "run/model/2_Dense/model.safetensors",
            "run/model/config_sentence_transformers.json",
            "run/model/sentence_bert_config.json",
        ),
        (*_MODEL, *_MODEL, *_MODEL, _VERIFY, _PUSH, "export run/model --texts texts.txt --forms onnx-packed"),
    ),
    "run/model/recipe.json": (*_MODEL, _CARD, _VERIFY),
    "teacher/model.safetensors": (_EMBED.replace("{path}", "texts.txt"),),
    "teacher/tokenizer.json": (_EMBED.replace("{path}", "texts.txt"),),
}
# Folders that a command may change.
_NAMED = ("out", "run", "runs")


@dataclass(frozen=True)
class Case:
    """A damaged file and a command that reads the file.

    Attributes:
        seed: Seed of the campaign.
        number: Number of the case; seed and number determine the case.
        path: The file, relative to the folder of the case.
        damage: Name of the damage.
        arguments: Arguments of ``leaf-st``, which runs in the folder.
    """

    seed: int
    number: int
    path: str
    damage: str
    arguments: list[str]


def make_valid(folder: Path) -> None:
    """Write the valid files to ``folder``: texts, vectors, sets, a recipe, a teacher and a measured run.

    Raises:
        RuntimeError: If a command fails on these files.
    """
    save_tiny_teacher(folder / "teacher")
    (folder / "recipe.py").write_text(_RECIPE)
    _write_texts(folder)
    _write_sets(folder)
    for command in ("run recipe.py --output run", "measure agreement run --texts set", _REPORT):
        outcome = _forked.run(command.split(), folder, folder / "logs", SECONDS)
        if outcome.code != 0:
            raise RuntimeError(f"leaf-st {command} fails on valid files: {outcome.stderr}")
    for name in ("logs", "tmp"):
        shutil.rmtree(folder / name)


def _write_texts(folder: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(_TEXTS, WIDTH)).astype(np.float32)
    rows = [
        {
            "text": f"Text {row} is about leaf {row % 7}. Another sentence tells more about the leaf number {row}.",
            "kind": ("query", "document")[row % 2],
            "vector": vectors[row].tolist(),
        }
        for row in range(_TEXTS)
    ]
    (folder / "texts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "texts.txt").write_text("".join(f"{row['text']}\n" for row in rows))
    for name, comma in (("texts.csv", ","), ("texts.tsv", "\t")):
        lines = [comma.join((str(row["text"]), str(row["kind"]), f'"{row["vector"]}"')) for row in rows]
        (folder / name).write_text("\n".join([comma.join(rows[0]), *lines, ""]))
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "texts.parquet")
    for name in ("texts.arrow", "texts.feather"):
        with pa.ipc.new_file(str(folder / name), table.schema) as writer:
            writer.write_table(table)
    np.save(folder / "vectors.npy", vectors)
    pairs = [
        {"sentence1": row["text"], "sentence2": rows[0]["text"], "score": 0.1 * (n % 10)} for n, row in enumerate(rows)
    ]
    pq.write_table(pa.Table.from_pylist(pairs), folder / "pairs.parquet")


def _write_sets(folder: Path) -> None:
    corpus = [{"_id": f"d{row}", "title": "leaf", "text": f"document {row}"} for row in range(12)]
    queries = [{"_id": f"q{row}", "text": f"query {row}"} for row in range(6)]
    qrels = [{"query-id": f"q{row}", "corpus-id": f"d{row}", "score": 1} for row in range(6)]
    (folder / "set").mkdir()
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / "set" / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    lines = ["\t".join(map(str, row.values())) for row in qrels]
    (folder / "set" / "qrels.tsv").write_text("\n".join(["\t".join(qrels[0]), *lines, ""]))
    for name, rows in (("corpus", corpus), ("queries", queries), ("qrels", qrels)):
        (folder / "hub" / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / "hub" / name / "0.parquet")


def make_case(valid: Path, folder: Path, seed: int, number: int) -> Case:
    """Copy ``valid`` to ``folder``, damage a file there, and return the case."""
    shutil.copytree(valid, folder, symlinks=True)
    rng = random.Random(f"{seed}/{number}")
    pattern = rng.choice(list(TARGETS))
    path = next(folder.glob(pattern))
    command = rng.choice(TARGETS[pattern])
    damage = rng.choice(damages(path))
    damage(rng, path)
    name = path.relative_to(folder).as_posix()
    return Case(seed, number, name, damage.__name__.strip("_"), command.format(path=name).split())


def problem(outcome: _forked.Outcome, command: str) -> str | None:
    """Return what is wrong with the end of a ``command`` on malformed input, or None."""
    if outcome.code is None:
        return f"no end within {SECONDS:g} seconds"
    if "Traceback (most recent call last)" in outcome.stderr:
        return f"traceback: {outcome.stderr.strip().splitlines()[-1][:300]}"
    if outcome.code not in ((0, 1, 2) if command == "verify" else (0, 2)):
        return f"exit code {outcome.code}"
    if outcome.megabytes > MEGABYTES:
        return f"{outcome.megabytes:.0f} MB of memory"
    if outcome.code == 2:
        # A progress bar starts each of its states with a carriage return, which an error does not contain.
        lines = [line for line in re.sub(r"\r[^\r\n]*", "", outcome.stderr).splitlines() if line.strip()]
        # sentence-transformers reports unknown keys of a configuration by itself.
        lines = [line for line in lines if not line.startswith("Ignoring unrecognized ")]
        if len(lines) != 1 or not lines[0].startswith("leaf-st") or len(lines[0]) > _LINE:
            return f"{len(lines)} lines and {len(outcome.stderr)} characters of error"
        if not lines[0].isprintable():
            return "control characters in the error"
    return None


def snapshot(folder: Path, named: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
    """Return size and time of all files in ``folder`` outside the folders ``named``."""
    return {
        name: ((found := path.lstat()).st_size, found.st_mtime_ns)
        for path in folder.rglob("*")
        if (name := path.relative_to(folder).as_posix()).split("/")[0] not in named and not path.is_dir()
    }


def check(arguments: Sequence[str], folder: Path, home: Path) -> tuple[_forked.Outcome, str | None]:
    """Run a command in ``folder`` and return what is wrong with its end or with what it wrote."""
    logs = folder.with_name(f"{folder.name}-logs")
    places = ((folder, _NAMED), (home, ()), (folder.parent / "tmp", ()))
    before = [snapshot(*place) for place in places]
    outcome = _forked.run(arguments, folder, logs, SECONDS)
    written = [
        str(place[0] / name)
        for place, old in zip(places, before, strict=True)
        for name, state in snapshot(*place).items()
        if old.get(name) != state
    ]
    shutil.rmtree(logs)
    found = problem(outcome, arguments[0])
    return outcome, found or (f"wrote {written[0]}" if written else None)


def generate_rows(rng: random.Random, count: int) -> list[dict[str, object]]:
    """Return rows whose text and kind may be anything that JSON can express."""
    return [
        {key: make(rng) for key, make in (("text", _text), ("kind", _kind), ("extra", _text)) if rng.random() < 0.97}
        for _ in range(count)
    ]


def _text(rng: random.Random) -> object:
    if rng.random() < 0.15:
        return rng.choice((None, True, -1, 1.5, 1 << 70, float("nan"), [], ["a"], {}, {"a": [None]}))
    ranges = ((32, 126), (0, 31), (0x80, 0x7FF), (0x4E00, 0x9FFF), (0x1F300, 0x1FAFF), (0xD800, 0xDFFF), (0, 0x10FFFF))
    low, high = rng.choice(ranges[:1] * 6 + ranges)
    length = rng.choice((0, 1, 5, 40, 40, 400, 5000))
    return "".join(chr(rng.randint(low, high)) for _ in range(length))


def _kind(rng: random.Random) -> object:
    return rng.choice(("query", "document", "query", "document", "query", "document", None, "", "Query", 1, []))


def lost_texts(rows: Sequence[dict[str, object]], store: EmbeddingStore) -> list[str]:
    """Return the usable texts of ``rows`` that ``store`` lacks, and the texts of the store that no row has."""
    kept = {row.text for row in store.texts(range(len(store)))}
    usable = set()
    for row in rows:
        text, kind = row.get("text"), row.get("kind")
        if flaw(text, "document" if kind in (None, "") else kind) is None:
            usable.add(str(text).strip())
    return sorted(kept ^ usable)


def check_rows(valid: Path, folder: Path, home: Path, seed: int, number: int, count: int) -> str | None:
    """Embed ``count`` generated rows, and return what is wrong."""
    rows = generate_rows(random.Random(f"rows {seed}/{number}"), count)
    rows[0] = {"text": "A usable text in the first row names the columns.", "kind": "document"}
    folder.mkdir(parents=True)
    for name in ("recipe.py", "teacher"):
        (folder / name).symlink_to(valid / name)
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    outcome, found = check(_EMBED.format(path="rows.jsonl").split(), folder, home)
    if found or outcome.code:
        return found or outcome.stderr
    lost = lost_texts(rows, EmbeddingStore(folder / "out" / "store"))
    return f"{len(lost)} texts differ, such as {lost[0][:80]!r}" if lost else None


def campaign(
    valid: Path, output: Path, *, seed: int, cases: Sequence[int], rows: int, minutes: float
) -> tuple[Counter[str], dict[str, str]]:
    """Run the cases and the generated rows, as far as the time allows.

    Returns:
        The number of ends by kind, and the problem of each failed case by the name of its folder.
    """
    home, until = Path(os.environ["HOME"]), time.monotonic() + 60 * minutes
    ends: Counter[str] = Counter()
    failed: dict[str, str] = {}
    jobs = [(f"case-{seed}-{number}", number) for number in cases]
    files = [(f"rows-{seed}-{number}", number) for number in range(-(-rows // ROWS_PER_FILE))]
    for name, number in tqdm([*jobs, *files], desc="cases", unit="case", mininterval=1):
        if time.monotonic() > until:
            ends["not run, because the time was over"] += 1
            continue
        folder = output / name
        if name.startswith("case"):
            end, found = run_case(valid, folder, home, seed, number)
        else:
            count = min(ROWS_PER_FILE, rows - number * ROWS_PER_FILE)
            end, found = f"{count} generated rows", check_rows(valid, folder, home, seed, number, count)
        ends[end] += 1
        if found is None:
            shutil.rmtree(folder)
        else:
            failed[name] = found
            tqdm.write(f"{name}: {found}")
    return ends, failed


def run_case(valid: Path, folder: Path, home: Path, seed: int, number: int) -> tuple[str, str | None]:
    """Run a case in ``folder``; return the kind of its end and what is wrong."""
    case = make_case(valid, folder, seed, number)
    outcome, found = check(case.arguments, folder, home)
    if found:
        record = {**asdict(case), "problem": found, **asdict(outcome)}
        (folder / "case.json").write_text(json.dumps(record, indent=1))
        found = f"{case.damage} of {case.path}, leaf-st {' '.join(case.arguments)}: {found}"
    return f"exit code {outcome.code}", found


def main() -> None:
    """Read the command line, run the campaign, and print the figures; exits with 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=300, metavar="N", help="malformed files (default: 300)")
    parser.add_argument("--rows", type=int, default=10_000, metavar="N", help="generated rows (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all cases (default: 0)")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="repeat the cases with these numbers")
    parser.add_argument("--minutes", type=float, default=30, metavar="N", help="time limit (default: 30)")
    parser.add_argument("--output", type=Path, default=Path("fuzz"), metavar="DIR", help="failed cases (default: fuzz)")
    options = parser.parse_args()
    output, cases, rows = options.output.resolve(), options.only or range(options.files), options.rows
    isolate(output / "home")
    with tempfile.TemporaryDirectory() as scratch:
        valid = Path(scratch)
        make_valid(valid)
        ends, failed = campaign(
            valid, output, seed=options.seed, cases=cases, rows=0 if options.only else rows, minutes=options.minutes
        )
    print(f"seed {options.seed}: {', '.join(f'{count} x {end}' for end, count in sorted(ends.items()))}")
    print(f"{len(failed)} failed{f': {output}' if failed else ''}")
    sys.exit(1 if failed else 0)


def isolate(home: Path) -> None:
    """Let the processes of the cases use the empty folder ``home``, one thread and no network."""
    home.mkdir(parents=True, exist_ok=True)
    os.environ |= {"HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    for name in ("HF_HOME", "MTEB_CACHE", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        os.environ.pop(name, None)
    _forked.CONTEXT.set_forkserver_preload(_forked.PRELOAD)


if __name__ == "__main__":
    main()
