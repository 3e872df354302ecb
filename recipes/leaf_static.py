"""leaf-static: all-MiniLM-L6-v2 as a table of token vectors, trained in five minutes on one CPU core.

Source:   LEAF, arXiv 2509.12539. The student is sentence-transformers' StaticEmbedding: the mean of token vectors that
          do not depend on each other. The table starts from the teacher's vectors of single tokens (the paper's BERT
          tokens), weighted by frequency as in SIF (Arora et al., 2017), with a closed-form projection.
Command:  leaf-st run recipes/leaf_static.py                                         # open texts from the hub
          HF_HUB_OFFLINE=1 leaf-st run recipes/leaf_static.py                        # documentation strings
          leaf-st run recipes/leaf_static.py --set texts.source=FILE
          leaf-st evaluate runs/leaf-static --tasks NanoBEIR --teacher sentence-transformers/all-MiniLM-L6-v2
Texts:    By default up to 32,768 texts each of FineWeb, English words and definitions, LoTTE and PubMedQA.
Hardware: EPYC with AVX-512, one core: 2,071 steps of 1,024 texts in five minutes, after two cores embedded 388,496
          texts at 320 per second.
Result:   mean L2 to the teacher 0.500; nDCG@10 over six sets 87.4 % of the teacher's standard, 94.7 % asymmetric;
          32,722 queries per second on one core in batches of 32, 12,155 one by one (recipes/benchmarks/query_speed.py).
          Trained with `--set texts.source=FILE` on the mix of open texts that leaf_mini.py describes, and measured on
          the same six sets.
Rate:     1e-2, far above a transformer's, because a step moves only the vectors of tokens that occur in its texts.
"""

from leaf_st.pipeline.default_texts import open_texts
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TrainingSpec

recipe = Recipe(
    name="leaf-static",
    texts=open_texts(per_source=32 * 1024),
    teacher=TeacherSpec(model="sentence-transformers/all-MiniLM-L6-v2"),
    student=StudentSpec(static=True, closed_form_rows=32768),
    training=TrainingSpec(
        budget_minutes=5,
        held_out_rows=1024,
        arguments={
            "learning_rate": 1e-2,
            "weight_decay": 0.0,
            "per_device_train_batch_size": 1024,
            "per_device_eval_batch_size": 1024,
            "eval_steps": 0.2,
            "save_steps": 0.2,
        },
    ),
)
