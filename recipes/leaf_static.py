"""leaf-static: all-MiniLM-L6-v2 as a table of its tokens' vectors, trained in five minutes on one CPU core.

Source:   LEAF, arXiv 2509.12539, with a student that is sentence-transformers' StaticEmbedding: the mean of vectors that
          do not see each other. The table starts as the teacher's vectors of the single tokens (the paper's BERT tokens),
          weighted down by frequency as in SIF (Arora et al., 2017), and is projected in closed form.
Command:  leaf-st run recipes/leaf_static.py
          leaf-st run recipes/leaf_static.py --set texts.source=texts.parquet
Hardware: one core of an EPYC with AVX-512; 2,071 steps of 1,024 texts in five minutes, after embedding 388,496 texts at
          320 a second on two.
Result:   mean L2 to the teacher 0.500; nDCG@10 over six sets 87.4 % of the teacher's standard, 94.7 % asymmetric;
          @SPEED@ queries a second on one core (`recipes/benchmarks/query_speed.py`, batches of 32).
Rate:     1e-2, far above that of a transformer: a step moves only the vectors of the tokens that are in its texts.
"""

from pathlib import Path

from leaf_st.recipe import DOCSTRINGS, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_OPEN_MIX = _DATA / "texts" / "open_mix.parquet"

recipe = Recipe(
    name="leaf-static",
    texts=TextsSpec(source=str(_OPEN_MIX) if _OPEN_MIX.is_file() else DOCSTRINGS),
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
    evaluate_on=[str(folder) for folder in sorted((_DATA / "retrieval").glob("*"))],
)
