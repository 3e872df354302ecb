"""LEAF for sentence-transformers: distil a large text-embedding model into a small model in its vector space.

LEAF is described in arXiv 2509.12539. Public names are imported on first use, so that ``import leaf_st`` is fast.
"""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

# onnxruntime, as soon as it is imported, would store an id of the machine in the home folder and send events.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_PUBLIC = {
    "distill": "leaf_st.pipeline.distill",
    "evaluate": "leaf_st.evaluation.tasks.evaluate",
    "load": "leaf_st.student.asymmetric",
    "export": "leaf_st.pipeline.export",
    "push_to_hub": "leaf_st.publishing.push",
    "AlignmentEvaluator": "leaf_st.evaluation.alignment",
    "EmbeddingStore": "leaf_st.teacher.store",
    "Fingerprint": "leaf_st.teacher.protocol",
    "InputError": "leaf_st.errors",
    "LengthGroupedBatchSampler": "leaf_st.training.sampler",
    "Projection": "leaf_st.student.projection",
    "Recipe": "leaf_st.recipe",
    "Teacher": "leaf_st.teacher.protocol",
    "TeacherAlignedLoss": "leaf_st.training.loss",
    "Text": "leaf_st.texts",
    "build_student": "leaf_st.student.build",
    "compose": "leaf_st.student.asymmetric",
    "open_teacher": "leaf_st.teacher.open",
    "precompute": "leaf_st.teacher.precompute",
    "save_portable": "leaf_st.models.portable",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (a module attribute may be anything)
    """Import a public name on first use."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'leaf_st' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """List the public names without importing them."""
    return sorted(__all__)


class _Package(ModuleType):
    """This module, in which ``leaf_st.export`` stays the function after the subpackage of that name is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        # The first import of a module in the subpackage sets `leaf_st.export` to the subpackage, which would hide the
        # public function. `__getattr__` cannot prevent this, because Python calls it only for missing attributes.
        if name not in _PUBLIC or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        # cloudpickle, which joblib and Ray use, passes a module by name only if its class is exactly ModuleType.
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package
