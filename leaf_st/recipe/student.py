"""The part of a recipe that names the student."""

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from leaf_st.recipe.part import CONFIG, Conflict, part
from leaf_st.recipe.type_names import value_name
from leaf_st.recipe.types import AtLeast0, AtLeast2, Layers, ModelName, NonEmpty


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
            self._require_unset("start", ("backbone", "layers", "static"), "a trained student already has its modules")
        elif self.static:
            self._require_unset(
                "static",
                ("backbone", "revision", "layers", "max_length"),
                "a static student is a table of the teacher's tokens and reads complete texts",
            )
        elif self.backbone is None and self.layers is None:
            raise Conflict(
                "",
                "expected backbone, layers, static or start, found none of them, so the student would equal the "
                "teacher: set a smaller backbone, the layers to keep, or static",
            )
        return self

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
