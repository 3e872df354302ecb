"""The part of a recipe that names the student."""

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from leaf_st.recipe.part import CONFIG, Conflict, part
from leaf_st.recipe.texts import PAPER
from leaf_st.recipe.type_names import value_name
from leaf_st.recipe.types import AtLeast0, AtLeast1, AtLeast2, Layers, LocalPath, ModelName, NonEmpty, TextSource


@part("student")
@dataclass(frozen=True, config=CONFIG)
class StudentSpec:
    """The model that is trained."""

    backbone: ModelName | None = None
    """Hub id or folder of an encoder; the teacher's encoder if None."""
    revision: NonEmpty | None = None
    """Commit, branch or tag of the backbone or the start on the hub."""
    layers: Layers | None = None
    """Encoder layers of the backbone to keep, such as 0,4,5; all layers if None."""
    vocabulary: AtLeast1 | None = None
    """Number of tokens to keep, the most frequent ones in the texts; fewer if the texts use fewer; all tokens if None.
    A word whose token is left out is split into shorter tokens."""
    vocabulary_from: TextSource | None = None
    """Texts in which the tokens are counted, in a form of texts.source; the training texts if None."""
    tokens: LocalPath | None = None
    """File of the kept tokens, from a run with the same vocabulary; if None, a run counts the tokens and records its
    own file."""
    static: bool = False
    """Whether to train a table of token vectors instead of an encoder (see `leaf_st.student.static`)."""
    max_length: AtLeast2 | None = None
    """Maximum number of tokens per text after training; if None, the start's, or the smaller of the teacher's and the
    backbone's. Texts are cut to this length before the teacher embeds them. A static student has no maximum."""
    closed_form_rows: AtLeast0 = 4096
    """Number of texts to which a new projection or table is fitted in closed form before training; 0 keeps the random
    weights."""
    start: ModelName | None = None
    """A trained student to train further, instead of a backbone: a folder, a zoo name such as "leaf-ir", or a hub id.
    Training adds and removes no modules."""

    @model_validator(mode="after")
    def _check_kind_of_student(self) -> "StudentSpec":
        if self.start is not None:
            self._require_unset(
                "start",
                ("backbone", "layers", "vocabulary", "static"),
                "a trained student already has its modules",
            )
        elif self.static:
            self._require_unset(
                "static",
                ("backbone", "revision", "layers", "vocabulary", "max_length"),
                "a static student is a table of the teacher's tokens and reads complete texts",
            )
        elif self.backbone is None and self.layers is None and self.vocabulary is None:
            raise Conflict(
                "",
                "expected backbone, layers, vocabulary, static or start, found none of them, so the student would "
                "equal the teacher: set a smaller backbone, the layers to keep, or static",
            )
        elif self.backbone is None and self.revision is not None:
            raise Conflict(
                "revision",
                f"expected None without student.backbone and student.start, found {self.revision!r}: the student "
                "has the revision of its teacher; set teacher.revision, or remove the field",
            )
        return self

    @model_validator(mode="after")
    def _check_vocabulary(self) -> "StudentSpec":
        for name in ("vocabulary_from", "tokens"):
            if self.vocabulary is None and (value := getattr(self, name)) is not None:
                raise Conflict(
                    name,
                    f"expected None without student.vocabulary, found {value!r}: set the number of tokens to keep in "
                    "student.vocabulary, or remove the field",
                )
        if self.vocabulary_from == PAPER:
            raise Conflict("vocabulary_from", f"expected a local file or folder, found {PAPER}: set texts.source to it")
        return self

    @property
    def needs_tokens(self) -> bool:
        """Whether the tokens of texts must be counted before the student can be built."""
        return self.vocabulary is not None and self.tokens is None

    def _require_unset(self, key: str, others: tuple[str, ...], reason: str) -> None:
        for name in others:
            if (value := getattr(self, name)) not in (None, False):
                raise Conflict(
                    name,
                    f"expected no value with student.{key}, found {value_name(value)}: {reason}; leave out one "
                    f"of the two, with --set student.{name}={_unset(value)} or "
                    f"--set student.{key}={_unset(getattr(self, key))}",
                )


def _unset(value: object) -> str:
    return "false" if value is True else "None"
