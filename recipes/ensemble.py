"""A student of two teachers: all-MiniLM-L6-v2 and bge-small-en-v1.5, concatenated and projected to 384 dimensions.

Source:   LEAF, arXiv 2509.12539; the teachers' vectors are concatenated as for Stella and Jasper, arXiv 2412.19048.
Command:  leaf-st run recipes/ensemble.py --smoke                                      # tiny models, without the hub
          leaf-st run recipes/ensemble.py
          leaf-st run recipes/ensemble.py --set texts.source=FILE --set teacher.dimensions=None  # 768 dimensions
          leaf-st evaluate runs/ensemble --tasks NanoBEIR --modes teacher standard asymmetric
Texts:    By default as in leaf_mini.py. FILE is a table with a column `text` and optionally `kind`.
Prompts:  bge-small-en-v1.5 is trained with a prompt for queries. Each member applies its own prompts. The student gets
          `teacher.prompts`, by which it tells queries from documents.
Result:   Not measured yet.
"""

from leaf_st.pipeline.default_texts import open_texts
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TrainingSpec
from leaf_st.zoo import MINILM

recipe = Recipe(
    name="ensemble",
    texts=open_texts(per_source=16 * 1024, sentences=True),
    teacher=TeacherSpec(
        ensemble=[
            TeacherSpec(model=MINILM),
            TeacherSpec(
                model="BAAI/bge-small-en-v1.5",
                prompts={"query": "Represent this sentence for searching relevant passages: "},
            ),
        ],
        dimensions=384,
        prompts={"query": "query: "},
    ),
    student=StudentSpec(backbone=MINILM, layers=(0, 4, 5)),
    training=TrainingSpec(
        budget_minutes=30,
        held_out_rows=1024,
        arguments={"learning_rate": 3e-4, "eval_steps": 0.2, "save_steps": 0.2},
    ),
)
