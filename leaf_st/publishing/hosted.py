"""What a card has to say of the folder that a model is in, beside its results."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from leaf_st.errors import InputError
from leaf_st.export.encoder import GRAPHS, GraphKind
from leaf_st.recipe import KINDS
from leaf_st.teacher.local import own_prompt


@dataclass(frozen=True)
class Hosted:
    """A model as it is published.

    Attributes:
        repo_id: OWNER/NAME.
        prompts: Prompt of each kind of text, empty where it has none.
        length: Tokens that it reads of a text; None if all.
        normalized: Whether its vectors have norm 1.
        graphs: ONNX files that are in its folder.
        asymmetric: Whether its teacher is in it, for documents.
        exported_by: What writes the graphs, where they are not in the repository.
        folder: Where snippets have the model; the part of the id that is not the owner if empty.
    """

    repo_id: str
    prompts: Mapping[str, str]
    length: int | None
    normalized: bool
    graphs: Sequence[GraphKind] = ()
    asymmetric: bool = False
    exported_by: str = ""
    folder: str = ""

    @property
    def name(self) -> str:
        """Its title, and where snippets have it."""
        return self.folder or self.repo_id.rpartition("/")[2]


def read_hosted(folder: Path, repo_id: str, *, asymmetric: bool = False) -> Hosted:
    """Return what the card of the model in ``folder`` says of it under ``repo_id``; nothing is loaded.

    Raises:
        InputError: If ``repo_id`` can be none, or ``folder`` holds no model.
    """
    check_repo_id(repo_id)
    reading = folder / "sentence_bert_config.json"  # a table has none, and reads all
    prompts: dict[str, str] = _read(folder / "config_sentence_transformers.json", "prompts")
    modules: list[dict[str, str]] = _read(folder / "modules.json")
    return Hosted(
        repo_id,
        {kind: own_prompt(prompts, kind) for kind in KINDS},
        _read(reading, "max_seq_length") if reading.is_file() else None,
        any(module["type"].endswith(".Normalize") for module in modules),
        () if asymmetric else [kind for kind, path in GRAPHS.items() if (folder / path).is_file()],
        asymmetric,
    )


def _read(path: Path, key: str | None = None) -> Any:  # noqa: ANN401  (JSON)
    """Return what is in ``path``, or in it under ``key``."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if key is None else found[key]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): train the model anew") from error
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: expected {key} in it, found none: train the model anew") from error


def check_repo_id(repo_id: str) -> None:
    """Look whether ``repo_id`` can be one.

    Raises:
        InputError: If it cannot.
    """
    if repo_id.count("/") != 1:
        raise InputError(f"--repo-id {repo_id}: expected OWNER/NAME, such as me/{Path(repo_id).name or 'leaf'}")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"--repo-id {repo_id}: {str(error).partition(chr(10))[0]}") from error
