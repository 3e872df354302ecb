"""leaf-static: all-MiniLM-L6-v2 as a table of its tokens' vectors, trained in five minutes on two CPU cores."""

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
