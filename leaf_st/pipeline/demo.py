"""The demo: distil all-MiniLM-L6-v2 on this machine's documentation, measure search over functions it never saw.

Everything comes from the machine itself but the teacher, so that it runs without a network, and the
texts are nobody's but the user's.
"""

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer

from leaf_st.atomic import replace_folder, write_json
from leaf_st.errors import InputError
from leaf_st.evaluation.latency import encode_speed
from leaf_st.evaluation.modes import ROLES
from leaf_st.evaluation.results import Result, retention
from leaf_st.models.portable import save_portable
from leaf_st.pipeline.run import Run
from leaf_st.recipe import DOCSTRINGS, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.student.load import load_student, load_teacher
from leaf_st.teacher.precompute import ROWS_PER_SHARD
from leaf_st.teacher.shard import text_id
from leaf_st.texts.docstrings import Documented, documented_functions, is_held_out
from leaf_st.zoo import MINILM

FUNCTIONS = 600  # of the search set: enough for a stable nDCG@10, few enough to embed in half a minute
_SPEED_TEXTS = 128
_RECORD = "recipe.json"  # in the folder of the model: where its run is

recipe = Recipe(
    name="leaf-demo",
    texts=TextsSpec(source=DOCSTRINGS, limit=20 * ROWS_PER_SHARD),
    # 48 tokens hold every query and the head of every document; reading on would double the time.
    teacher=TeacherSpec(model=MINILM, max_length=48),
    student=StudentSpec(layers=(0, 4, 5), max_length=256),
    training=TrainingSpec(
        max_length=48,
        end_learning_rate=3e-5,
        held_out_rows=512,
        arguments={"learning_rate": 3e-4, "num_train_epochs": 1, "eval_steps": 0.25, "save_steps": 0.25},
    ),
)


def demo(output: Path) -> None:
    """Run the demo: the model goes to ``output``, the run beside it, into ``runs/``.

    Raises:
        InputError: If ``output`` holds something that no demo made.
    """
    started = time.perf_counter()
    if output.name in ("", ".."):  # the place beside it has to have a name
        output = output.resolve()
    if output.exists() and not _is_replaceable(output):
        raise InputError(f"{output} holds something that is no demo's model: name another --output")
    run = Run(recipe, output.parent / "runs" / output.name)
    print(f"1/4  texts, and the vectors that {MINILM} gives them", flush=True)
    store = run.embed()
    assert store is not None  # one partition makes the whole
    print("2/4  training a student of three layers on these vectors", flush=True)
    run.train()
    run.measure_alignment()
    print("3/4  searching functions that training never saw", flush=True)
    search_set = run.folder / "held_out"
    trained = {identity for ids in store.ids() for identity in ids.tolist()}
    write_search_set(search_set, islice(held_out_functions(trained), FUNCTIONS))
    student = load_student(str(run.folder / "model"))
    models = {"teacher": load_teacher(TeacherSpec(model=MINILM), student), "student": student}
    results = _measure(run, search_set, **models)
    print("4/4  encoding speed, side by side", flush=True)
    speeds = _speeds(search_set, models)
    write_json(run.folder / "results" / "speed.json", speeds)
    record = {
        "run": str(run.folder),
        "resolved": run.recipe.to_dict(),
        "teacher": run.teacher.fingerprint.to_dict(),
    }
    save_portable(student, output, record)
    print(format_summary(models, speeds, results))
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes, {_peak_memory():.1f} GB resident at most")
    print(_next_commands(output, search_set))


def write_search_set(folder: Path, functions: Iterator[Documented]) -> None:
    """Write ``functions`` to ``folder`` as a BEIR folder: the first sentence finds the rest of the docstring."""
    rows = list(functions)
    names = [row.name for row in rows]
    columns = {
        "corpus": {"_id": names, "title": [""] * len(rows), "text": [row.body for row in rows]},
        "queries": {"_id": names, "text": [row.summary for row in rows]},
        "qrels": {"query-id": names, "corpus-id": names, "score": [1] * len(rows)},
    }

    def fill(fresh: Path) -> None:
        fresh.mkdir(parents=True)
        for name, table in columns.items():
            pq.write_table(pa.table(table), fresh / f"{name}.parquet")

    replace_folder(folder, fill)


def held_out_functions(trained: Set[int], roots: Sequence[Path] | None = None) -> Iterator[Documented]:
    """Yield functions that training never saw, with a sentence to search and a body to find, neither of them twice.

    Args:
        trained: `text_id` of every text of the store: a copied body may stand there under another summary.
        roots: As for `documented_functions`.
    """
    seen = set(trained)
    for function in documented_functions(roots):
        ids = {text_id(function.summary), text_id(function.body)}
        if function.body and is_held_out(function.summary) and not ids & seen:
            seen |= ids
            yield function


def _is_replaceable(output: Path) -> bool:
    """Return whether ``output`` is empty or a demo's model; the recipe.json of a run says other things."""
    if not output.is_dir():
        return False
    if not any(output.iterdir()):
        return True
    try:
        record = json.loads((output / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and "run" in record


def _measure(run: Run, folder: Path, teacher: SentenceTransformer, student: SentenceTransformer) -> list[Result]:
    from leaf_st.evaluation.tasks.find import find_tasks
    from leaf_st.evaluation.tasks.runner import evaluate  # imports mteb, which takes seconds

    results = run.folder / "results"
    return evaluate(find_tasks([str(folder)]), teacher=teacher, student=student, modes=list(ROLES), folder=results)


def _speeds(folder: Path, models: Mapping[str, SentenceTransformer]) -> dict[str, dict[str, float]]:
    """Return texts per second by side and model."""
    sides = {"queries": "queries", "documents": "corpus"}
    return {
        side: encode_speed(models, pq.read_table(folder / f"{name}.parquet")["text"].to_pylist()[:_SPEED_TEXTS])
        for side, name in sides.items()
    }


def format_summary(
    models: Mapping[str, SentenceTransformer],
    speeds: Mapping[str, Mapping[str, float]],
    results: Sequence[Result],
) -> str:
    """Return the table that the demo ends with: size, speed, nDCG@10 and retention."""
    score = {result.mode: result.score for result in results}
    kept = retention(results)
    teacher, student = (sum(weight.numel() for weight in model.parameters()) for model in models.values())
    rows = [
        ("", "teacher", "student"),
        ("parameters", f"{teacher / 1e6:.1f}M", f"{student / 1e6:.1f}M"),
        *((f"{side} encoded per second", *(f"{rate:,.0f}" for rate in of.values())) for side, of in speeds.items()),
        ("nDCG@10, student for both (standard)", f"{score['teacher']:.1f}", f"{score['standard']:.1f}"),
        (
            "nDCG@10, student for queries (asymmetric)",
            f"{score['teacher']:.1f}",
            f"{score['asymmetric']:.1f}",
        ),
        ("retention, standard", "", f"{kept['standard']:.1f}%"),
        ("retention, asymmetric", "", f"{kept['asymmetric']:.1f}%"),
    ]
    return "\n" + "\n".join(f"{name:<44}{first:>9}{second:>10}" for name, first, second in rows)


def _peak_memory() -> float:
    """Return the most memory that this process had resident, in GB; Linux counts it in KiB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _next_commands(output: Path, search_set: Path) -> str:
    programs = Path(sys.executable).parent
    active = shutil.which("leaf-st") == str(programs / "leaf-st")
    prefix = "" if active else f"{os.path.relpath(programs)}/"
    encode = f"from sentence_transformers import SentenceTransformer as S; print(S('{output}').encode(['hello']).shape)"
    return f"""
The student is in {output}, in the vector space of {MINILM}. Next:

  {prefix}leaf-st search --model {output} --teacher {MINILM} \\
      --documents {search_set / "corpus.parquet"} "how do I read a compressed file"
  {prefix}python -c "{encode}"
  {prefix}leaf-st run recipes/leaf_mini.py --set texts.source=FILE --output runs/mine   # your own texts
"""
