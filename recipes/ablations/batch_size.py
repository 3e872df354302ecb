"""Batch sizes at equal data, so that larger batches take fewer steps (paper A.3, Table 4).

Command:  python recipes/ablations/batch_size.py [--texts FILE] [--samples N] [--output DIR] [--smoke]
Result:   README.md in this folder.

The learning rate is the same for all sizes, as in the paper. Minutes are training time without validation.
"""

from _outcomes import draw_curves
from _study import BATCH, Setting, Study, Variant, main


def variants(setting: Setting) -> list[Variant]:
    sizes = [16, 32, 64, 128, 256]
    others = {size: {"per_device_train_batch_size": size} if size != BATCH else {} for size in sizes}
    return [setting.variant(f"batches of {size}", **changes) for size, changes in others.items()]


if __name__ == "__main__":
    main(Study("batch_size", variants, draw_curves), __doc__)
