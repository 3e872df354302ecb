r"""finetune-domain: a published student goes on learning from its teacher, on texts of your own domain.

Source:   LEAF, arXiv 2509.12539: labels are not needed to train, so they are not needed to go on either.
Command:  leaf-st run recipes/finetune_domain.py --set texts.source=FILE                          (after `leaf-st demo`)
          leaf-st run recipes/finetune_domain.py --set texts.source=FILE --set general.source=GENERAL \
              --set student.start=leaf-ir --output runs/mine
Texts:    FILE holds your texts, without labels: parquet, jsonl, csv, txt or a BEIR folder. GENERAL holds texts like
          those that the student learned from, to see what it forgets; without it, 2,048 of this machine's
          documentation, which is what the demo's student learned from. None of it is trained on here; texts that it
          never saw show best what it forgets, since those of before were nearer to begin with.
Hardware: one core of an EPYC with AVX-512 and bfloat16; 7,161 texts and 606 steps in an hour, beside other work.
Result:   the last lines say the loss on both, before and after; `results/training.json` has it over the steps. The
          student of leaf_mini.py on the 3,633 documents of nfcorpus (medicine) and a sentence of each: mean L2 to the
          teacher 0.353 -> 0.266 there and 0.239 -> 0.272 on 2,048 texts of the mix that it had learned from; nDCG@10 on
          nfcorpus 97.1 -> 99.9 % of the teacher's standard, 97.1 -> 98.4 % asymmetric (`leaf-st evaluate`).
"""

from pathlib import Path

from leaf_st.recipe import DOCSTRINGS, TEACHER_OF_START, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec

_DEMO = "leaf-demo"  # where `leaf-st demo` puts its student

recipe = Recipe(
    name="finetune-domain",
    # Where there are documents alone, a sentence of each stands for the queries that it will be searched with.
    texts=TextsSpec(source="texts.txt", sentences=True),
    general=TextsSpec(source=DOCSTRINGS, limit=2048),
    teacher=TeacherSpec(model=TEACHER_OF_START),
    student=StudentSpec(start=_DEMO if Path(_DEMO).is_dir() else "leaf-ir"),
    training=TrainingSpec(
        end_learning_rate=1e-6,
        held_out_rows=1024,
        arguments={"learning_rate": 1e-4, "num_train_epochs": 3},
    ),
)
