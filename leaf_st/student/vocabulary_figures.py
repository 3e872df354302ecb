"""What a student with a smaller vocabulary keeps and loses, in numbers."""

from pydantic import BaseModel


class VocabularyFigures(BaseModel):
    """The size of a smaller vocabulary, and what texts lose.

    Attributes:
        kept: Number of tokens that are kept.
        of: Number of tokens before.
        texts: Number of texts in which the tokens were counted.
        lost_tokens: Share of the tokens in these texts that are left out.
        lost_texts: Share of these texts that contain such a token, in a random sample of them.
    """

    kept: int
    of: int
    texts: int
    lost_tokens: float
    lost_texts: float

    def __str__(self) -> str:
        return (
            f"{self.kept:,} of {self.of:,} tokens are kept; {self.lost_tokens:.2%} of the tokens in {self.texts:,} "
            f"texts are replaced by others, in {self.lost_texts:.1%} of the texts"
        )
