"""The shared part of teachers that are not one SentenceTransformer: APIs, given vectors and ensembles."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from leaf_st.teacher.protocol import Fingerprint, Similarity, Vectors

if TYPE_CHECKING:
    from torch import Tensor


class RemoteTeacher:
    """The part of a `Teacher` that follows from its fingerprint. The similarity is the cosine.

    Attributes:
        fingerprint: Everything that shapes the vectors.
    """

    fingerprint: Fingerprint

    @property
    def dimension(self) -> int:
        """Width d of the vectors."""
        return self.fingerprint.dimension

    @property
    def prompts(self) -> Mapping[str, str]:
        """Prompt by kind."""
        return self.fingerprint.prompts

    @property
    def similarity_fn_name(self) -> Similarity:
        """Name of the similarity function."""
        return "cosine"

    @property
    def parameters(self) -> int | None:
        """None: the number of weights is unknown."""
        return None

    @property
    def reads_starts(self) -> bool:
        """Whether the teacher was found to read only the start of a long text, while vectors were compared."""
        return False

    def similarity(self, queries: Vectors, documents: Vectors) -> "Tensor":
        """Return the similarity of each query to each document, shape (queries, documents)."""
        from sentence_transformers import util  # imports torch, which embedding does not need

        return util.cos_sim(queries, documents)

    def similarity_pairwise(self, queries: Vectors, documents: Vectors) -> "Tensor":
        """Return the similarity of query i to document i, shape (n,)."""
        from sentence_transformers import util

        return util.pairwise_cos_sim(queries, documents)
