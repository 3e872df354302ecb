"""All measurements, in the order of the report."""

from typing import Any

from leaf_st.evaluation.measurements.agreement import AGREEMENT
from leaf_st.evaluation.measurements.alignment import ALIGNMENT
from leaf_st.evaluation.measurements.baseline import BASELINE
from leaf_st.evaluation.measurements.compression import COMPRESSION
from leaf_st.evaluation.measurements.export import EXPORT
from leaf_st.evaluation.measurements.index import INDEX
from leaf_st.evaluation.measurements.latency import LATENCY
from leaf_st.evaluation.measurements.lost_queries import LOST_QUERIES
from leaf_st.evaluation.measurements.margin import MARGIN
from leaf_st.evaluation.measurements.measurement import Measurement
from leaf_st.evaluation.measurements.samples import SAMPLES
from leaf_st.evaluation.measurements.speed import SPEED
from leaf_st.evaluation.measurements.tasks import TASKS
from leaf_st.evaluation.measurements.training import TRAINING

MEASUREMENTS: tuple[Measurement[Any], ...] = (
    TASKS,
    TRAINING,
    ALIGNMENT,
    AGREEMENT,
    LOST_QUERIES,
    BASELINE,
    COMPRESSION,
    INDEX,
    MARGIN,
    LATENCY,
    SPEED,
    EXPORT,
    SAMPLES,
)
