"""How accurate the prediction of `leaf-st screen` is: predicted against measured values.

Command:  python recipes/benchmarks/screen_prediction.py [--runs measured_runs.json]

Each measured run is predicted from the other runs. The errors are printed for three choices of the other runs: all
runs but this one; all runs but those of the same student and teacher; all runs of other teachers.

Result:   Fourteen runs of two teachers, each predicted from the others: root mean square error of L2 0.019 (largest
          0.028 for all-MiniLM-L6-v2, 0.036 for multilingual-e5-small), and of retention 1.9 points (eight runs).
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from leaf_st.errors import InputError, exit_on_error
from leaf_st.pipeline.screening.prediction import Checked, errors, fit, leave_one_out
from leaf_st.pipeline.screening.runs import MEASURED_RUNS, MeasuredRun, measured_runs
from leaf_st.tables import aligned

_GROUPS: dict[str, Callable[[MeasuredRun], object]] = {
    "the same run": id,
    "all runs of the same student and teacher": lambda run: (run.teacher, run.student),
    "all runs of the same teacher": lambda run: run.teacher,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each run, and the errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=MEASURED_RUNS, metavar="FILE", help="measured runs (JSON)")
    options = parser.parse_args(arguments)
    with exit_on_error("screen_prediction", "the same command repeats the calculation"):
        runs = measured_runs(options.runs)
        print(format_runs(leave_one_out(runs)))
        print()
        print(format_errors(runs))


def format_runs(checked: Sequence[Checked]) -> str:
    """Return a line for each run."""
    head = ["teacher", "student", "steps x batch", "start L2", "L2", "predicted", "retention", "predicted"]
    lines = [head]
    for found in checked:
        run = found.run
        shares = ["-" if share is None else f"{share:.1f}%" for share in (run.retention, found.retention)]
        distances = [f"{distance:.3f}" for distance in (run.start_l2, run.l2, found.l2)]
        names = [name.rpartition("/")[2] for name in (run.teacher, run.student)]
        lines.append([*names, f"{run.steps:,} x {run.batch_size}", *distances, *shares])
    return aligned(lines, left=2)


def format_errors(runs: Sequence[MeasuredRun]) -> str:
    """Return the coefficients, and a line of errors for each way to leave out runs."""
    fitted = fit(runs)
    lines = [["left out", "L2: root mean square", "largest", "retention: root mean square"]]
    for name, group in _GROUPS.items():
        try:
            checked = leave_one_out(runs, group)
        except InputError:  # the remaining runs do not determine the coefficients
            continue
        l2, retention = errors(checked)
        largest = max(abs(found.l2 - found.run.l2) for found in checked)
        lines.append([name, f"{l2:.3f}", f"{largest:.3f}", "-" if retention is None else f"{retention:.1f}"])
    names = ("", " log(samples)", " log(layers)", " / layers", " agreement")
    terms = [f"{value:.3f}{name}" for value, name in zip(fitted.coefficients, names, strict=True)]
    loss = "not measured" if fitted.loss is None else f"100 - {fitted.loss:.1f} (L2 / spread)^3"
    formula = f"log(start L2 / L2) = {' + '.join(terms)}; retention {loss}"
    return f"{aligned(lines)}\n\n{formula}"


if __name__ == "__main__":
    main()
