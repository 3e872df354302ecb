"""The model card: what the run in a folder says of its model, as README.md."""

from pathlib import Path

from huggingface_hub import ModelCardData

from leaf_st.evaluation.results import TASKS, Result, read_results
from leaf_st.recipe import Recipe
from leaf_st.student.load import read_record
from leaf_st.zoo import ZOO


def card_text(run: Path, repo_id: str) -> str:
    """Return the card of the model in ``run`` as it is published under ``repo_id``."""
    recipe = Recipe.from_dict(read_record(run)["resolved"])
    teacher = recipe.teacher.model
    licences = {model.teacher.hub_id: model.teacher.licence for model in ZOO.values()}
    data = ModelCardData(
        license=licences.get(teacher, "unknown"),
        language="en",
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        base_model=list(dict.fromkeys(_hub_name(name) for name in (recipe.student.backbone, teacher) if name)),
        tags=["sentence-transformers", "feature-extraction", "sentence-similarity", "leaf", "distillation"],
    )
    path = run / "results" / TASKS
    return f"""---
{data.to_yaml()}
---

# {repo_id.rpartition("/")[2]}

A text-embedding model that lives in the vector space of {_hub_name(teacher)}, distilled by LEAF
([arXiv 2509.12539](https://arxiv.org/abs/2509.12539)).

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{repo_id}")
queries, documents = model.encode_query(["a query"]), model.encode_document(["a document"])
```

{_table(read_results(path)) if path.is_file() else "It has not been measured."}
"""


def _hub_name(model: str) -> str:
    """Return the name of a model; of a folder its last part, since the card must hold no path."""
    return Path(model).name if Path(model).is_dir() else model


def _table(rows: list[Result]) -> str:
    lines = ["| set | mode | metric | score |", "|---|---|---|---:|"]
    return "\n".join([*lines, *(f"| {row.set} | {row.mode} | {row.metric} | {row.score:.2f} |" for row in rows)])
