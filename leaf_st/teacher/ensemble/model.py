"""An ensemble of local models as one SentenceTransformer, for composition with a student in this process."""

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule
from torch import Tensor, nn

from leaf_st.errors import InputError
from leaf_st.teacher.ensemble.teacher import Ensemble
from leaf_st.teacher.local import LocalTeacher


class EnsembleModule(InputModule):
    """All modules of an ensemble's members as one module, which gives the vectors of `Ensemble.encode_document`.

    The members tokenise the texts, because each has a tokenizer of its own.

    Args:
        ensemble: An ensemble of local models.
    """

    forward_kwargs = {"task"}  # noqa: RUF012  (declared by sentence-transformers)

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ensemble = ensemble
        models = [member.sentence_transformer for member in ensemble.members if isinstance(member, LocalTeacher)]
        self.models = nn.ModuleList(models)  # their weights move to another device with this module

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return the texts; the members apply their own prompts."""
        return {"texts": list(inputs)}

    def forward(self, features: dict[str, Any], task: str | None = None, **_: Any) -> dict[str, Tensor]:  # noqa: ANN401
        """Return the vectors of the texts, shape (n, d)."""
        encode = self._ensemble.encode_query if task == "query" else self._ensemble.encode_document
        vectors = torch.from_numpy(encode(features["texts"]))
        return {"sentence_embedding": vectors.to(next(self.parameters()).device)}

    def get_embedding_dimension(self) -> int:
        """Return the width d of the vectors."""
        return self._ensemble.dimension

    def save(self, output_path: str, *_: Any, **__: Any) -> NoReturn:  # noqa: ANN401
        """Raise an `InputError`: sentence-transformers has no module that could be saved."""
        raise InputError(
            f"{output_path}: an ensemble of teachers cannot be saved as one model: save the student, and compose the "
            "two with leaf_st.load(student, asymmetric=True)"
        )


def ensemble_model(ensemble: Ensemble) -> SentenceTransformer:
    """Return ``ensemble``, whose members are local models, as a SentenceTransformer that cannot be saved."""
    module = EnsembleModule(ensemble)
    return SentenceTransformer(
        modules=[module],
        prompts={"query": "", "document": ""},
        similarity_fn_name=ensemble.similarity_fn_name,
        device=str(next(module.parameters()).device),
    )
