"""A student of two teachers: all-MiniLM-L6-v2 and bge-small-en-v1.5, concatenated and projected to 384 dimensions.

Source:   LEAF, arXiv 2509.12539; the teachers' vectors are concatenated as for Stella and Jasper, arXiv 2412.19048.
Command:  leaf-st run recipes/ensemble.py --smoke                                      # tiny models, without the hub
          leaf-st run recipes/ensemble.py
          leaf-st run recipes/ensemble.py --set texts.source=FILE --set teacher.dimensions=None  # 768 dimensions
          leaf-st evaluate runs/ensemble --tasks NanoBEIR --modes teacher standard asymmetric
Texts:    By default as in leaf_mini.py. FILE is a table with a column `text` and optionally `kind`.
Prompts:  bge-small-en-v1.5 is trained with a prompt for queries. Each member applies its own prompts. The student gets
          `teacher.prompts`, which lets it distinguish queries from documents.
Result:   Not measured with bge-small-en-v1.5. With all-MiniLM-L6-v2 and, in its place, the API of api_teacher.py
          (`--set 'teacher.ensemble=[{"model": "sentence-transformers/all-MiniLM-L6-v2"}, {"api": {...}}]'`), and only
          4,352 texts (texts.limit={'query': 4096, 'document': 256}) and 600 steps: five minutes on two cores. 384 of
          768 dimensions held 95.4 % of the squared norms. The ensemble's nDCG@10 on NQ-UTD is 80.16 (all-MiniLM-L6-v2
          78.24, the API 81.13). The student's agreement@10 is 88.2 % asymmetric and 78.4 % standard, its retention
          97.8 % and 96.7 % (recipes/benchmarks/agreement_and_retention.py).
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
