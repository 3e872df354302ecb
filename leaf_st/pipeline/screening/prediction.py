"""Prediction of a training's result from its closed-form start, fitted to measured runs by least squares.

L2: log(start L2 / L2) = a + b log(samples) + c log(layers) + d / layers + e agreement. The start carries the scale of
the teacher's space. Layers and samples determine how far training gets from the start; a student of one layer gets less
far than a power of its layers. The agreement@10 of the start tells teachers apart that are hard to learn.
Retention: 100 - k (L2 / spread)^3. L2 / spread is the distance relative to the size of the teacher's space. The
exponent fits the measured runs better than 2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError
from leaf_st.pipeline.screening.runs import MeasuredRun

COEFFICIENTS = 5  # of the prediction of L2
_EXPONENT = 3  # of the prediction of retention


@dataclass(frozen=True)
class Case:
    """A training whose result is predicted.

    Attributes:
        start_l2: Mean L2 of the closed-form map.
        spread: Root mean square of the distance of the teacher's vectors to their mean.
        layers: Number of encoder layers of the student.
        samples: Steps times batch size.
        start_agreement: Agreement@10 of the closed-form map in percent.
    """

    start_l2: float
    spread: float
    layers: int
    samples: int
    start_agreement: float


@dataclass(frozen=True, eq=False)
class Fit:
    """The coefficients of both predictions.

    Attributes:
        coefficients: Coefficients of the prediction of L2, shape (5,).
        loss: Lost retention in percent per (L2 / spread)^3; None if no run has a measured retention.
    """

    coefficients: NDArray[np.float64]
    loss: float | None

    def l2(self, case: Case) -> float:
        """Return the predicted L2, at most the L2 of the start."""
        gain = float(_features(case) @ self.coefficients)
        return case.start_l2 * float(np.exp(-max(gain, 0.0)))

    def retention(self, l2: float, spread: float) -> float | None:
        """Return the predicted retention in percent of a student with this L2."""
        return None if self.loss is None else 100 - self.loss * (l2 / spread) ** _EXPONENT


@dataclass(frozen=True)
class Checked:
    """A run and its prediction from all other runs.

    Attributes:
        run: The run.
        l2: Predicted L2.
        retention: Retention in percent at the predicted L2; None if it was not measured.
    """

    run: MeasuredRun
    l2: float
    retention: float | None


def case_of(run: MeasuredRun) -> Case:
    """Return the case that ``run`` measured."""
    return Case(run.start_l2, run.spread, run.layers, run.samples, run.start_agreement)


def _features(case: Case) -> NDArray[np.float64]:
    return np.array([1.0, np.log(case.samples), np.log(case.layers), 1 / case.layers, case.start_agreement / 100])


def fit(runs: Sequence[MeasuredRun]) -> Fit:
    """Return the least squares fit to ``runs``.

    Raises:
        InputError: If the runs do not determine the coefficients.
    """
    features = np.array([_features(case_of(run)) for run in runs]).reshape(-1, COEFFICIENTS)
    gains = np.log([run.start_l2 / run.l2 for run in runs])
    if len(runs) < COEFFICIENTS or np.linalg.matrix_rank(features) < COEFFICIENTS:
        raise InputError(
            f"measured runs: expected runs that differ in steps and layers, found {len(runs)} runs that do not "
            f"determine {COEFFICIENTS} coefficients: measure more runs (recipes/benchmarks/screen_runs.py)"
        )
    coefficients = np.linalg.lstsq(features, gains, rcond=None)[0]
    known = [((run.l2 / run.spread) ** _EXPONENT, 100 - run.retention) for run in runs if run.retention is not None]
    missed, lost = np.array(known).reshape(-1, 2).T
    return Fit(coefficients, float(missed @ lost / (missed @ missed)) if len(missed) else None)


def leave_one_out(runs: Sequence[MeasuredRun], group: Callable[[MeasuredRun], object] = id) -> list[Checked]:
    """Return each run with its prediction from the runs of other groups.

    Args:
        runs: The runs.
        group: Key of the runs that are left out together; by default each run by itself.

    Raises:
        InputError: If the other runs do not determine the coefficients.
    """
    found = []
    for run in runs:
        fitted = fit([other for other in runs if group(other) != group(run)])
        l2 = fitted.l2(case_of(run))
        found.append(Checked(run, l2, None if run.retention is None else fitted.retention(l2, run.spread)))
    return found


def errors(checked: Sequence[Checked]) -> tuple[float, float | None]:
    """Return the root mean square errors of L2 and of retention; None without a predicted retention."""
    distances = [found.l2 - found.run.l2 for found in checked]
    shares = [
        found.retention - found.run.retention
        for found in checked
        if found.retention is not None and found.run.retention is not None
    ]
    return _root_mean_square(distances), _root_mean_square(shares) if shares else None


def _root_mean_square(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
