"""All measurements, in the order of the report."""

from typing import Any

from leaf_st.evaluation.measurements.measurement import Measurement

MEASUREMENTS: tuple[Measurement[Any], ...] = ()
