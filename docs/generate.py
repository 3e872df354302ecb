"""Fill the generated blocks of README and docs: the command line's help, the recipe's fields, tables of results.

Command:  python docs/generate.py

A block stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. NAME is ``cli``, ``recipe``,
``architectures``, ``argument_defaults``, ``refused_arguments``, ``public_sets``, ``measurements``, ``benchmarks``,
``students``, ``sweep``, ``chaos``, ``gpu_training``, ``scaling``, ``plans``, ``agreement_and_retention``,
``onnx_snippet``, ``static_query``, ``MODEL/headline``, or ``MODEL/MEASUREMENT`` for the command and the rows in
``model_cards/MODEL/results/`` or ``docs/measured/MODEL/``.
tests/test_docs.py compares the pages with what this script writes.
"""

import argparse
import ast
import json
import os
import re
import shlex
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from leaf_st.cli.main import build_parser
from leaf_st.evaluation.measurements.latency import LATENCY
from leaf_st.evaluation.measurements.latency_rows import speeds
from leaf_st.evaluation.measurements.registry import MEASUREMENTS
from leaf_st.evaluation.measurements.tasks import TASKS
from leaf_st.evaluation.modes import STUDENT_MODES
from leaf_st.evaluation.results import TWO_SIDED, averages, retention, retention_intervals
from leaf_st.evaluation.rows import read_rows
from leaf_st.evaluation.tasks.public_sets import PUBLIC_SETS
from leaf_st.export.forms import FORMS, recommended_form
from leaf_st.pipeline.recipe_file import shown_fields
from leaf_st.pipeline.screening.runs import measured_runs
from leaf_st.pipeline.sweep_table import SweepRow, format_sweep
from leaf_st.publishing.card.render import onnx_snippet
from leaf_st.publishing.results import Results, read_results
from leaf_st.training.arguments import DEFAULTS, REFUSED

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"(<!-- generated: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
_COLUMNS = "100"  # width of the help texts
_HEADS = ("student embeds both", "student embeds queries")  # of the modes standard and asymmetric


def filled(page: Path) -> str:
    """Return the text of ``page`` with its generated blocks filled."""
    return _BLOCK.sub(lambda block: f"{block[1]}{_content(block[2])}{block[4]}", page.read_text(encoding="utf-8"))


def _content(name: str) -> str:
    if name == "cli":
        return _help()
    if name == "recipe":
        return _markdown(("key", "type", "default", "description"), shown_fields())
    if name == "argument_defaults":
        return _markdown(("argument", "default"), DEFAULTS.items())
    if name == "refused_arguments":
        remedies = dict.fromkeys(REFUSED.values())
        names = {remedy: ", ".join(name for name in REFUSED if REFUSED[name] == remedy) for remedy in remedies}
        return _markdown(("arguments", "remedy"), [(names[remedy], remedy) for remedy in remedies])
    if name == "measurements":
        made = [each for each in MEASUREMENTS if each.measure]
        lines = [(" ".join(("leaf-st", *each.command)), each.help, each.needs) for each in made]
        return _markdown(("command", "what the command does", "what the command needs"), lines)
    if name == "architectures":
        return _architectures()
    if name == "benchmarks":
        return _benchmarks()
    if name == "students":
        return _students()
    if name == "sweep":
        rows = read_rows(ROOT / "docs" / "measured" / "sweep.json", SweepRow)
        return f"```text\n{format_sweep(rows)}\n```\n"
    if name == "chaos":
        return _chaos()
    if name == "gpu_training":
        return _gpu_training()
    if name == "scaling":
        return _scaling()
    if name == "plans":
        return _plans()
    if name == "agreement_and_retention":
        return _agreement_and_retention()
    if name == "onnx_snippet":
        form = recommended_form(form.name for form in FORMS)
        return f"```py\n{onnx_snippet('runs/leaf-demo/model', {}, 256, form.name)}```\n"
    if name == "static_query":
        return _code(ROOT / "recipes" / "benchmarks" / "static_query.py")
    if name == "public_sets":
        return _markdown(("set", "source"), PUBLIC_SETS.items())
    model, _, measurement = name.partition("/")
    if measurement == "headline":
        return _headline(read_results(ROOT / "model_cards" / model))
    found = next(each for each in MEASUREMENTS if each.name == measurement)
    folders = (ROOT / "model_cards" / model / "results", ROOT / "docs" / "measured" / model)
    rows = next(rows for folder in folders if (rows := found.read(folder)))
    command = shlex.join(["leaf-st", *found.command, f"runs/{model}", *found.words(rows)])
    return f"```bash\n{command}\n```\n\n```text\n{found.table(rows)}\n```\n"


def _code(path: Path) -> str:
    """Return the program in ``path`` without its docstring; the language "py" is not run by the tests of the pages."""
    _, code = path.read_text(encoding="utf-8").split('"""\n\n', 1)
    return f"```py\n{code}```\n"


def _architectures() -> str:
    """Return the table of model families that ``python tests/architectures.py`` has measured."""
    rows = json.loads((ROOT / "docs" / "measured" / "architectures.json").read_text(encoding="utf-8"))
    stages = list(rows[0])[3:]
    lines = [[row["name"], f"`{row['example']}`", *(row[stage] for stage in stages)] for row in rows]
    return _table([["family", "example", *stages], ["---"] * (len(stages) + 2), *lines])


def _benchmarks() -> str:
    """Return the table of the scripts in recipes/benchmarks whose heads state a result."""
    lines = []
    for path in sorted((ROOT / "recipes" / "benchmarks").glob("*.py")):
        head = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if result := re.search(r"^Result:\s+(.+?)(?=\n\S|\Z)", head, re.DOTALL | re.MULTILINE):
            lines.append([f"`{path.name}`", head.partition("\n")[0].rstrip("."), " ".join(result[1].split())])
    return _table([["script", "question", "result"], ["---"] * 3, *lines])


def _chaos() -> str:
    """Return the table of the faults that recipes/benchmarks/chaos.py has made."""
    rows = json.loads((ROOT / "docs" / "measured" / "chaos.json").read_text(encoding="utf-8"))
    total = {"part": "all", **{key: sum(row[key] for row in rows) for key in ("trials", "wrong", "seconds")}}
    lines = [[f"{row.get(key, '')}" for key in rows[0]] for row in (*rows, total)]
    return _table([list(rows[0]), ["---", *["---:"] * (len(rows[0]) - 1)], *lines])


def _gpu_training() -> str:
    """Return the table of the ways that recipes/benchmarks/gpu_training.py has measured."""
    rows = json.loads((ROOT / "docs" / "measured" / "gpu_training.json").read_text(encoding="utf-8"))
    head = ["way", "batch", "samples/s", "tokens/s", "MFU", "hours for 192M samples", "GPU busy", "the kernels' time"]
    lines = [
        [
            *(row["way"], f"{row['batch']:,}", f"{row['samples']:,}", f"{row['tokens']:,}", f"{row['mfu']:.1f} %"),
            *(f"{row['hours']:.1f}", f"{row['busy']:.0f} %"),
            ", ".join(f"{part} {share:.0f} %" for part, share in row["parts"].items() if share >= 1),
        ]
        for row in rows
    ]
    return _table([head, ["---", *["---:"] * (len(head) - 2), "---"], *lines])


def _scaling() -> str:
    """Return the points that recipes/benchmarks/scaling.py has measured, and the laws that it has fitted."""
    measured = json.loads((ROOT / "docs" / "measured" / "scaling.json").read_text(encoding="utf-8"))
    head = ["layers", "width", "tokens", "ms a text", "by the law", "ms a step of 32", "by the law"]
    lines = [
        [
            *(str(row[key]) for key in ("layers", "width", "tokens")),
            *(f"{1e3 * row[key]:.2f}" for key in ("text", "text_law")),
            *(f"{1e3 * row[key]:,.0f}" for key in ("step", "step_law")),
        ]
        for row in measured["points"]
    ]
    text, step = measured["text"], measured["step"]
    weights = 1e9 * step["parameter"]  # ms for a million parameters; 0 if the fit finds no such cost
    laws = [
        f"ms a text = {1e3 * text['constant']:.2f} + work / {text['rate'] / 1e9:,.0f} million operations",
        f"ms a step = {1e3 * step['constant']:.0f} + 96 x work / {step['rate'] / 1e9:,.0f} "
        f"million operations" + (f" + {weights:.2f} x million parameters" if weights >= 0.005 else ""),
    ]
    errors = f"The root mean square errors are {100 * text['error']:.0f} % and {100 * step['error']:.0f} %."
    return f"{_table([head, ['---:'] * len(head), *lines])}\n```text\n{chr(10).join(laws)}\n```\n\n{errors}\n"


def _plans() -> str:
    """Return the plans that recipes/benchmarks/scaling.py has computed."""
    rows = json.loads((ROOT / "docs" / "measured" / "scaling.json").read_text(encoding="utf-8"))["plans"]
    head = ["plan", "vectors", "texts", "embedding", "price", "training", "training takes", "speeds from"]
    lines = [
        [
            *(row["plan"], f"{row['vectors_gb']:,.1f} GB", f"{row['texts_gb']:,.1f} GB"),
            f"{row['embedding_hours']:,.1f} h",
            "" if row["usd"] is None else f"{row['usd']:,.0f} USD",
            f"{row['steps']:,} steps of {row['batch']:,}",
            *(f"{row['training_hours']:,.1f} h", row["speeds"]),
        ]
        for row in rows
    ]
    return _table([head, ["---", *["---:"] * (len(head) - 2), "---"], *lines])


def _students() -> str:
    """Return the table of the runs that recipes/benchmarks/screen_runs.py has measured."""
    head = ["teacher", "student", "steps", "mean L2", "agreement@10", "retention", "source"]
    order = sorted(measured_runs(), key=lambda run: (run.teacher, -run.layers, run.steps))
    lines = [
        [
            run.teacher.rpartition("/")[2],
            run.student,
            f"{run.steps:,}",
            f"{run.l2:.3f}",
            _percent(run.agreement),
            _percent(run.retention),
            run.source,
        ]
        for run in order
    ]
    return _table([head, ["---"] * 2 + ["---:"] * 4 + ["---"], *lines])


def _agreement_and_retention() -> str:
    """Return a table per mode of the rows that recipes/benchmarks/agreement_and_retention.py has measured."""
    rows = json.loads((ROOT / "docs" / "measured" / "agreement_and_retention.json").read_text(encoding="utf-8"))
    sets, students = (list(dict.fromkeys(row[key] for row in rows)) for key in ("set", "model"))
    parts = []
    for mode in STUDENT_MODES:
        points = {
            (row["model"], row["set"]): (row["agreement"], 100 * row["score"] / row["teacher_score"])
            for row in rows
            if row["mode"] == mode
        }
        lines = [[student, *(_pair(points.get((student, name))) for name in sets)] for student in students]
        head = [f"teacher and student, {mode}", *(f"`{name}`" for name in sets)]
        agreements, retentions = zip(*points.values(), strict=True)
        pearson = statistics.correlation(agreements, retentions)
        slope, intercept = statistics.linear_regression(agreements, retentions)
        relation = f"{mode}: Pearson {pearson:.2f}, retention ≈ {intercept:.0f} + {slope:.2f} x agreement@10"
        parts.append(f"{_table([head, ['---', *['---:'] * len(sets)], *lines])}\n{len(points)} points, {relation}.\n")
    return "\n".join(parts)


def _pair(point: tuple[float, float] | None) -> str:
    return "" if point is None else f"{point[0]:.1f} → {point[1]:.1f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} %"


def _ends(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f", {interval[0]:.1f} to {interval[1]:.1f}"


def _headline(results: Results) -> str:
    """Return the README's first table: score, speed and size of teacher and student."""
    rows = [row for row in results.rows(TASKS) if row.type in TWO_SIDED]
    mean, kept, intervals, sets = averages(rows), retention(rows), retention_intervals(rows), {row.set for row in rows}
    shares = [_percent(kept[mode]) + _ends(intervals.get(mode)) for mode in STUDENT_MODES]
    scores = [f"{mean['teacher']:.2f}"]
    scores += [f"{mean[mode]:.2f} ({share})" for mode, share in zip(STUDENT_MODES, shares, strict=True)]
    timed = [speed for speed in speeds(results.rows(LATENCY)) if speed.side == "query"]
    rates = {(speed.model, speed.backend): speed.rate for speed in timed}
    teacher, student = results.recipe.teacher.name, results.recipe.name
    torch_rates = [rates[name, "torch float32"] for name in (teacher, student, student)]
    int8_rates = [f"{rates[student, 'onnx int8']:,.0f}"] * 2
    sizes = [results.size(role).parameters for role in ("teacher", "student", "student")]
    lines = [
        [f"nDCG@10, mean of {len(sets)} retrieval sets", *scores],
        ["queries per second, torch float32", *(f"{rate:,.0f}" for rate in torch_rates)],
        ["queries per second, ONNX int8", "-", *int8_rates],
        ["parameters", *(f"{size / 1e6:.1f}M" for size in sizes)],
    ]
    head = [f"{teacher.rpartition('/')[2]} and its student {student}", "teacher", *_HEADS]
    return _table([head, ["---", *["---:"] * 3], *lines])


def _markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table whose first column is code."""
    cells = [[f"`{first}`", *(str(value).replace("|", "\\|") for value in others)] for first, *others in rows]
    return _table([head, ["---"] * len(head), *cells])


def _table(lines: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _help() -> str:
    os.environ["COLUMNS"] = _COLUMNS  # argparse reads the width of the terminal from here
    parser = build_parser()
    parts = [("leaf-st", parser), *_commands("leaf-st", parser)]
    return "\n".join(f"## {name}\n\n```text\n{part.format_help()}```\n" for name, part in parts)


def _commands(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, command in action.choices.items():
                yield f"{name} {word}", command
                yield from _commands(f"{name} {word}", command)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page), encoding="utf-8")
