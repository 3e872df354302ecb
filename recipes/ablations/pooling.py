"""Pooling of the student (paper A.1, Figure 8): mean, first token, maximum.

Command:  python recipes/ablations/pooling.py [--texts FILE] [--samples N] [--output DIR] [--smoke]
Result:   README.md in this folder.

leaf_st's students always use mean pooling (paper Eq. 1); this comparison shows why.
"""

from functools import partial

from _outcomes import draw_curves
from _study import Setting, Study, Variant, main
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling


def pool(student: SentenceTransformer, mode: str) -> None:
    """Set the pooling of ``student`` to ``mode``."""
    student[1] = Pooling(student[0].get_embedding_dimension(), mode)


def variants(setting: Setting) -> list[Variant]:
    others = [
        setting.variant(mode, change=f"pooling {mode}", student=partial(pool, mode=mode)) for mode in ("cls", "max")
    ]
    return [setting.variant("mean"), *others]


if __name__ == "__main__":
    main(Study("pooling", variants, draw_curves), __doc__)
