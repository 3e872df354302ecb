r"""finetune-domain: continue the training of a student with its own teacher, on texts of your domain.

Source:   LEAF, arXiv 2509.12539: training needs no labels, so continued training needs none either.
Command:  leaf-st run recipes/finetune_domain.py --set texts.source=FILE                          (after `leaf-st demo`)
          leaf-st run recipes/finetune_domain.py --set texts.source=FILE --set general.source=GENERAL \
              --set student.start=leaf-ir --output runs/mine
Texts:    FILE holds your unlabelled texts: parquet, jsonl, csv, txt or a BEIR folder. GENERAL contains texts of the
          kind that the student was trained on. The loss on GENERAL shows what the student forgets. No step trains on
          GENERAL.
          The default is 2,048 documentation strings of installed packages, the kind of text that the demo's student
          learned from. Use texts that the student was not trained on: the loss on training texts is lower from the
          start.
Hardware: one core of an EPYC with AVX-512 and bfloat16: 7,161 texts and 606 steps in an hour, while other jobs ran.
Result:   The last lines of the run show both losses before and after; `results/training.json` has them over the steps.
          The student of leaf_mini.py on the 3,633 documents of nfcorpus (medicine; BEIR, hub id mteb/nfcorpus) and one
          sentence of each: mean L2 to the teacher 0.353 -> 0.266 on them, 0.239 -> 0.272 on 2,048 texts of the mix that
          the student had learned from; nDCG@10 on nfcorpus 97.1 -> 99.9 % of the teacher's standard, 97.1 ->
          98.4 % asymmetric (`leaf-st evaluate`).
"""

from pathlib import Path

from leaf_st.recipe import DOCSTRINGS, TEACHER_OF_START, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec

_DEMO = "leaf-demo"  # the model folder of `leaf-st demo`

recipe = Recipe(
    name="finetune-domain",
    # One sentence of each document is used as a query, because most domains have no queries.
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
