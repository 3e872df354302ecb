"""The demo: distil all-MiniLM-L6-v2 on documentation strings, and search functions that training never saw.

The texts come from the Python packages of this machine, and the teacher from a package or the hub's cache, so that the
demo runs without a network.
"""

import json
import os
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sentence_transformers import SentenceTransformer

from leaf_st.atomic import replace_folder
from leaf_st.errors import InputError
from leaf_st.evaluation.measurements.speed import SPEED, Rates
from leaf_st.evaluation.modes import ROLES, STUDENT_MODES
from leaf_st.evaluation.results import Result, retention, retention_intervals, retention_text
from leaf_st.evaluation.rows import write_rows
from leaf_st.evaluation.timing import encode_speed
from leaf_st.models.load import load_model
from leaf_st.models.portable import require_replaceable, save_portable
from leaf_st.pipeline.run import Run
from leaf_st.recipe import DOCSTRINGS, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.run_folder import HELD_OUT, MODEL, RESULTS, SITE, read_record
from leaf_st.tables import aligned
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.protocol import Teacher
from leaf_st.teacher.shard_rows import ROWS_PER_SHARD
from leaf_st.texts.docstrings import Documented, documented_functions, is_held_out
from leaf_st.texts.fold import text_id
from leaf_st.zoo import MINILM

FUNCTIONS = 600  # in the search set: enough for a stable nDCG@10, few enough to embed in half a minute
_SPEED_TEXTS = 128

recipe = Recipe(
    name="leaf-demo",
    texts=TextsSpec(source=DOCSTRINGS, limit=20 * ROWS_PER_SHARD),
    # 48 tokens cover every query and the start of every document; longer texts would double the time.
    teacher=TeacherSpec(model=MINILM, max_length=48),
    student=StudentSpec(layers=(0, 4, 5), max_length=256),
    training=TrainingSpec(
        max_length=48,
        end_learning_rate=3e-5,
        held_out_rows=512,
        arguments={"learning_rate": 3e-4, "num_train_epochs": 2, "eval_steps": 0.25, "save_steps": 0.25},
    ),
)


def demo(output: Path) -> None:
    """Run the demo, and write the model to ``output`` and the run to ``runs/`` in the same parent folder.

    Raises:
        InputError: If ``output`` contains anything except the model of an earlier demo.
    """
    started = time.perf_counter()
    if output.name in ("", ".."):  # the run folder has the same name
        output = output.resolve()
    if output.exists() and not _is_replaceable(output):
        raise InputError(
            f"{output}: expected a new folder or the model of an earlier demo, found other files: name another --output"
        )
    require_replaceable(output)
    run = Run(recipe, output.parent / "runs" / output.name)
    search_set = _distil(run)
    student = load_model(str(run.folder / MODEL))
    models = {"teacher": load_model(MINILM, role="teacher"), "student": student}
    results = _measure(run, search_set, open_teacher(TeacherSpec(model=MINILM, precision="float32")), student)
    print("4/4  compare encoding speed", flush=True)
    speeds = _speeds(search_set, models)
    write_rows(run.folder / RESULTS / SPEED.file, [Rates(side, **rates) for side, rates in speeds.items()])
    record = {
        "run": str(run.folder),
        "resolved": run.recipe.to_dict(),
        "teacher": run.teacher.fingerprint.to_dict(),
    }
    save_portable(student, output, record)
    print(format_summary(models, speeds, results))
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes{_peak_memory()}")
    print(_next_commands(output, search_set, f"{_report(run.folder)}\n{_site(run.folder, search_set)}"))


def _distil(run: Run) -> Path:
    """Embed, train, and write the search set; returns the folder of the search set."""
    print(f"1/4  embed texts with {MINILM}", flush=True)
    store = run.embed()
    assert store is not None  # the only partition completes the store
    print("2/4  train a student with three layers", flush=True)
    run.train()
    run.measure_alignment()
    print("3/4  search among functions that training never saw", flush=True)
    trained = {identity for ids in store.ids() for identity in ids.tolist()}
    folder = run.folder / HELD_OUT
    write_search_set(folder, islice(held_out_functions(trained), FUNCTIONS))
    return folder


def write_search_set(folder: Path, functions: Iterator[Documented]) -> None:
    """Write ``functions`` to ``folder`` as a BEIR folder: each summary is a query for the rest of its docstring."""
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
    """Yield functions that training never saw, each with a summary and a body that no earlier function has.

    Args:
        trained: `text_id` of every text in the store. A body may be in the store under another summary.
        roots: As for `documented_functions`.
    """
    seen = set(trained)
    for function in documented_functions(roots):
        ids = {text_id(function.summary), text_id(function.body)}
        if function.body and is_held_out(function.summary) and not ids & seen:
            seen |= ids
            yield function


def _is_replaceable(output: Path) -> bool:
    """Return whether ``output`` is empty or the model of a demo, whose record names its run."""
    try:
        return output.is_dir() and (not any(output.iterdir()) or "run" in read_record(output))
    except InputError:  # the record is damaged, or another program's
        return False


def _measure(run: Run, folder: Path, teacher: Teacher, student: SentenceTransformer) -> list[Result]:
    from leaf_st.evaluation.tasks.find import find_tasks
    from leaf_st.evaluation.tasks.runner import evaluate_tasks  # imports mteb, which takes seconds

    results = run.folder / RESULTS
    return evaluate_tasks(
        find_tasks([str(folder)]), teacher=teacher, student=student, modes=list(ROLES), folder=results
    )


def _speeds(folder: Path, models: Mapping[str, SentenceTransformer]) -> dict[str, dict[str, float]]:
    """Return texts per second, by side and model."""
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
    """Return the summary table: size, speed, nDCG@10 and retention."""
    score = {result.mode: result.score for result in results}
    kept, intervals = retention(results), retention_intervals(results)
    teacher, student = (sum(weight.numel() for weight in model.parameters()) for model in models.values())
    rows = [
        ("", "teacher", "student"),
        ("parameters", f"{teacher / 1e6:.1f}M", f"{student / 1e6:.1f}M"),
        *(
            (f"{side} encoded per second", *(f"{rate:,.0f}" for rate in found.values()))
            for side, found in speeds.items()
        ),
        ("nDCG@10, student for both (standard)", f"{score['teacher']:.1f}", f"{score['standard']:.1f}"),
        (
            "nDCG@10, student for queries (asymmetric)",
            f"{score['teacher']:.1f}",
            f"{score['asymmetric']:.1f}",
        ),
        *((f"retention, {mode}", "", retention_text(kept.get(mode), intervals.get(mode))) for mode in STUDENT_MODES),
    ]
    return "\n" + aligned(rows)


def _peak_memory() -> str:
    """Return the peak resident memory of this process, to follow the time; empty on Windows."""
    try:
        import resource
    except ImportError:
        return ""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return f", peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.1f} GB"


def _report(run: Path) -> str:
    """Write the report page of ``run``; returns a line that names the page, or the reason why it is missing."""
    from leaf_st.publishing.report.report import write_report

    try:
        return f"The report is {write_report(run)}"
    except InputError as error:  # such as a missing matplotlib: everything else is done
        return f"No report page was written: {error}"


def _site(run: Path, search_set: Path) -> str:
    """Write a search page over the documents of ``search_set``; returns lines that name the page, or why it is missing.

    The names of the functions are the titles.
    """
    from leaf_st.publishing.site.build import build_site
    from leaf_st.texts.documents import read_titled_documents

    corpus = search_set / "corpus.parquet"
    documents = read_titled_documents(corpus, "text", Counter(), "_id")
    try:
        page = build_site(run, documents, run / SITE)
    except InputError as error:  # such as a missing onnx: everything else is done
        return f"No search page was written: {error}"
    command = f"python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(page.parent))}"
    return f"The search page is {page}; to open it at http://127.0.0.1:8000:\n\n  {command}"


def _next_commands(output: Path, search_set: Path, report: str) -> str:
    programs = Path(sys.executable).parent
    active = shutil.which("leaf-st") == str(programs / "leaf-st")
    prefix = "" if active else f"{shlex.quote(os.path.relpath(programs))}/"
    found = json.dumps(str(output), ensure_ascii=False)
    encode = f'from sentence_transformers import SentenceTransformer as S; print(S({found}).encode(["hello"]).shape)'
    model, documents = (shlex.quote(str(path)) for path in (output, search_set / "corpus.parquet"))
    return f"""
The student is in {output}, in the vector space of {MINILM}.
{report}

Next steps:

  {prefix}leaf-st search --model {model} --teacher {MINILM} \\
      --documents {documents} "how do I read a compressed file"
  {prefix}python -c {shlex.quote(encode)}
  {prefix}leaf-st run recipes/leaf_mini.py --set texts.source=FILE --output runs/mine   # in a clone: your own texts
"""
