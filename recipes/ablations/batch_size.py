"""Texts of a step, at one amount of data and so fewer steps (paper A.3, Table 4).

Command:  python recipes/ablations/batch_size.py [--texts FILE] [--samples N] [--output DIR] [--smoke]
Result:   in README.md beside this file.

The learning rate is the same for all, as in the paper. Minutes are those of training, without the validations.
"""

from _outcomes import draw_curves
from _study import BATCH, Setting, Study, Variant, main


def variants(setting: Setting) -> list[Variant]:
    sizes = [16, 32, 64, 128, 256]
    others = {size: {"per_device_train_batch_size": size} if size != BATCH else {} for size in sizes}
    return [setting.variant(f"batches of {size}", **changes) for size, changes in others.items()]


if __name__ == "__main__":
    main(Study("batch_size", variants, draw_curves), __doc__)
