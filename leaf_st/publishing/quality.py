"""The sections on how good a student is: its tasks, its training, its margin, what it finds."""

from collections.abc import Mapping, Sequence

from leaf_st.evaluation.margin_trend import margin_lines, trend_lines
from leaf_st.evaluation.modes import Mode
from leaf_st.evaluation.results import HEADER, STUDENT_MODES, by_type, mean_lines, one_sided, task_lines
from leaf_st.evaluation.samples import Sampled, by_query
from leaf_st.publishing import commands, figures
from leaf_st.publishing.measured import Logged, Measured
from leaf_st.publishing.section import Missing, Section
from leaf_st.publishing.table import Table

_SHOWN = {"ndcg_at_10": "nDCG@10"}
_RELEVANT = "✓ "


def tasks(measured: Measured) -> Section:
    """Return scores and retention of each task, as the paper's Tables 2, 3 and 7."""
    rows, title = measured.tasks, "Tasks"
    evaluate = commands.evaluate(measured)
    if not rows:
        return Section("tasks", title, missing=[Missing("No task was measured.", evaluate)])
    means, each = mean_lines(rows), task_lines(rows)
    shown = [[name, _SHOWN.get(metric, metric.replace("_", " ")), *cells] for name, metric, *cells in each]
    tables = []
    if len(by_type(rows)) > 1:
        columns = [HEADER[0].replace("task", "type (tasks)"), *HEADER[2:]]
        cells = [[line[0], *line[2:]] for line in means]
        tables.append(Table("types", columns, cells, strong=frozenset({len(cells) - 2, len(cells) - 1})))
        tables.append(Table("tasks", HEADER, shown, left=2))
    else:
        tables.append(Table("tasks", HEADER, [*shown, *means], left=2, strong=frozenset({len(shown)})))
    absent = [mode for mode in ("teacher", *STUDENT_MODES) if all(row.mode != mode for row in rows)]
    text = [
        "Scores in percent, by mteb. Teacher: it embeds both sides. Standard: the student embeds both sides. "
        "Asymmetric: the student embeds queries, the teacher documents. Retention is a mode's score over the "
        "teacher's; that of a mean is the retention of the means.",
        one_sided(rows),
    ]
    missing = [Missing(f"Not measured: {', '.join(absent)} mode.", evaluate)] if absent else []
    if all(row.role != "student" for row in measured.sizes):
        missing.append(Missing("The sizes of the models were not written down.", evaluate))
    said = [line for line in text if line]
    return Section("tasks", title, said, commands.of_tasks(measured), tables=tables, missing=missing)


def training(measured: Measured) -> Section:
    """Return the losses over the steps, and how near the vectors came."""
    drawn, tables, missing = [], [], []
    distance = measured.recipe.training.distance
    loss = "mean L2 to the teacher" if distance == "l2" else f"mean loss ({distance})"
    if measured.training:
        drawn.append(figures.training_figure(measured.training, loss))
        tables.append(_validations(measured.training))
    else:
        missing.append(Missing("No losses of the training are here.", commands.train(measured)))
    if measured.alignment:
        spread = figures.alignment_figure(measured.alignment)
        lines = [[row.set, f"{row.rows:,}", f"{row.l2:.4f}", f"{row.cosine:.4f}"] for row in measured.alignment]
        tables.append(
            Table("alignment", ["texts", "number", "mean L2", "mean cosine"], lines, caption="Distance to the teacher")
        )
        drawn += [spread] if spread else []
    if not measured.alignment or len(drawn) < bool(measured.training) + 1:
        what = "How the distances to the teacher are spread was not measured."
        missing.append(Missing(what, commands.measure(measured, "alignment")))
    text = [
        "The student learns to reproduce the teacher's vectors; nothing else is minimised. Lower is better: between "
        "vectors of norm 1 the L2 distance is 0 to 2."
    ]
    return Section("training", "Training", text, figures=drawn, tables=tables, missing=missing)


def _validations(rows: Sequence[Logged]) -> Table:
    """Return the validation losses, each beside what was logged last before it."""
    names = list(dict.fromkeys(name for row in rows for name in row.validation))
    at = {row.step: row for row in rows if row.validation}
    lines = []
    for step, row in at.items():
        before = [other for other in rows if other.loss is not None and other.step <= step]
        trained = before[-1] if before else None
        losses = [f"{row.validation[name]:.4f}" if name in row.validation else "-" for name in names]
        rate = f"{trained.learning_rate:.2e}" if trained and trained.learning_rate is not None else "-"
        epoch = "-" if row.epoch is None else f"{row.epoch:.2f}"
        lines.append([f"{step:,}", epoch, f"{trained.loss:.4f}" if trained else "-", *losses, rate])
    header = ["step", "epoch", "loss, training texts", *(f"loss, {name} texts" for name in names), "learning rate"]
    return Table("training", header, lines, left=0, caption="Validations")


def margin(measured: Measured) -> Section:
    """Return how much error retrieval bears."""
    title, rows = "Robustness margin", measured.margin
    if not rows:
        note = (
            "It needs the checkpoints of a training, at least three of them. Where they were not kept, train into "
            "another folder: "
        )
        settings = ("save_total_limit=10", "save_steps=0.1", "eval_steps=0.1")
        needed = Missing(note, commands.train(measured, *settings))
        return Section("margin", title, missing=[Missing(_UNMEASURED, commands.measure(measured, "margin")), needed])
    header, *lines = margin_lines(rows)
    text = [
        "How much approximation error retrieval bears (paper 3.3): each point is a checkpoint. Where the line through "
        "them meets the teacher's score above an error of 0, errors below that do not show in the score.",
        *(f"{line[0].upper()}{line[1:]}." for line in trend_lines(rows)),
    ]
    table = Table("margin", header, lines, strong=frozenset({len(lines) - 1}))
    command = commands.of_sets(measured, "margin", (row.set for row in rows))
    return Section("margin", title, text, command, figures.margin_figures(rows), [table])


_UNMEASURED = "This was not measured."


def samples(measured: Measured) -> Section:
    """Return what some queries find in each mode, side by side."""
    title = "Ten nearest documents, side by side"
    if not measured.samples:
        return Section("samples", title, missing=[Missing(_UNMEASURED, commands.measure(measured, "samples"))])
    text = [
        f"Queries drawn at random. In each mode the ten nearest documents by similarity, their first words; "
        f"{_RELEVANT.strip()} marks those that are judged relevant."
    ]
    queries = by_query(measured.samples)
    command = commands.of_sets(measured, "samples", (row.set for row in measured.samples))
    tables = [_sample(number, *item) for number, item in enumerate(queries.items(), 1)]
    return Section("samples", title, text, command, folded=tables)


def _sample(number: int, named: tuple[str, str], modes: Mapping[Mode, Sequence[Sampled]]) -> Table:
    theirs = {row.document for row in modes.get("teacher", ())}
    shared = [
        f"{mode} {len(theirs & {row.document for row in modes[mode]})}" for mode in STUDENT_MODES if mode in modes
    ]
    ranks = sorted({row.rank for of_mode in modes.values() for row in of_mode})
    cells = {(mode, row.rank): _found(row) for mode, of_mode in modes.items() for row in of_mode}
    asked = next(row.asked for of_mode in modes.values() for row in of_mode)
    return Table(
        f"sample-{number}",
        ["", *modes],
        [[str(rank), *(cells.get((mode, rank), "-") for mode in modes)] for rank in ranks],
        left=1 + len(modes),
        caption=f"“{asked}” ({named[0]}). Of the teacher's {len(theirs)} found too: {', '.join(shared)}.",
    )


def _found(row: Sampled) -> str:
    return f"{row.score:.3f} {_RELEVANT if row.grade > 0 else ''}{row.text or row.document}"
