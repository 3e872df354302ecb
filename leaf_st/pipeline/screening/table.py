"""The table of `leaf-st screen`."""

from collections.abc import Iterator, Sequence

from leaf_st.pipeline.screen import Screening
from leaf_st.pipeline.screening.prediction import errors, fit, leave_one_out
from leaf_st.pipeline.screening.runs import MeasuredRun
from leaf_st.tables import aligned


def format_screening(found: Screening, runs: Sequence[MeasuredRun], steps: Sequence[int]) -> str:
    """Return the figures, the predictions after each number of ``steps``, and the cost of the store, as text."""
    parts = [_start_lines(found), _predicted_lines(found, runs, steps), _cost_lines(found)]
    return "\n\n".join([*map(aligned, parts), *_notes(found, runs, steps)])


def _start_lines(found: Screening) -> list[list[str]]:
    start, shape = found.start, found.start.spectrum
    return [
        ["effective dimension of the teacher's vectors (participation ratio)", f"{shape.participation:.1f}"],
        [f"principal axes with 95 % of their variance, of {shape.dimension:,}", f"{shape.axes:,}"],
        [f"linear map from the untrained student, {start.layers} layers: R²", f"{start.r2:.3f}"],
        ["linear map: mean L2", f"{start.l2:.3f}"],
        [
            f"linear map: agreement@10 ({start.queries:,} queries, {start.documents:,} documents)",
            f"{start.agreement:.1f}%",
        ],
    ]


def _predicted_lines(found: Screening, runs: Sequence[MeasuredRun], steps: Sequence[int]) -> list[list[str]]:
    fitted, (l2_error, retention_error) = fit(runs), errors(leave_one_out(runs))
    lines = [["prediction, steps", "mean L2", "+-", "retention, asymmetric", "+-"]]
    for count in steps:
        l2, retention = found.predicted(fitted, count)
        shares = [_percent(retention), _percent(retention_error)]
        lines.append([f"{count:,} of {found.batch_size} texts", f"{l2:.3f}", f"{l2_error:.3f}", *shares])
    return lines


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}%"


def _cost_lines(found: Screening) -> list[list[str]]:
    lines = [[f"store of {found.rows:,} texts", f"{found.store_bytes / 1e9:,.2f} GB"]]
    if found.tokens is not None:
        price = "unknown: set price_per_million_tokens" if found.usd is None else f"{found.usd:,.2f} USD"
        lines.append([f"price of about {found.tokens:,.0f} tokens", price])
    return lines


def _notes(found: Screening, runs: Sequence[MeasuredRun], steps: Sequence[int]) -> Iterator[str]:
    """Yield what the figures were measured on, and what exceeds the measured runs."""
    start = found.start
    yield (
        f"Fitted on {start.fitted_on:,} texts, measured on {start.held_out:,} others. +- is the root mean square error "
        f"over {len(runs)} measured runs, each predicted from the others."
    )
    samples, layers = ([getattr(run, name) for run in runs] for name in ("samples", "layers"))
    texts = min((run.texts for run in runs if run.texts is not None), default=0)
    rows = min(run.start_rows for run in runs)
    outside = [f"{count:,} steps" for count in steps if not _within(count * found.batch_size, samples)]
    outside += [] if _within(start.layers, layers) else [f"{start.layers} layers"]
    outside += [] if found.rows >= texts else [f"fewer than {texts:,} texts"]
    outside += (
        [] if start.fitted_on > 0.9 * rows else [f"a map fitted on fewer than {rows:,} texts, whose L2 is larger"]
    )
    if outside:
        yield f"Outside of the measured runs, so the error may be larger: {', '.join(outside)}."


def _within(value: int, known: Sequence[int]) -> bool:
    return min(known) <= value <= max(known)
