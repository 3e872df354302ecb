"""The facts about a model folder that a card states in addition to its results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leaf_st.atomic import json_or, read_json
from leaf_st.errors import InputError
from leaf_st.export.forms import exported_files
from leaf_st.hub.target import check_repo_id
from leaf_st.models.prompts import prompt_for
from leaf_st.recipe import KINDS

_ENCODER_DECODER = ("t5", "mt5", "umt5")


@dataclass(frozen=True)
class Hosted:
    """A published model.

    Attributes:
        repo_id: OWNER/NAME.
        prompts: Prompt by kind of text; empty if the model has none.
        length: Maximum number of tokens that the model reads; None if it has no limit.
        normalized: Whether the vectors have norm 1.
        graphs: Names of the export forms of the model.
        asymmetric: Whether the repository also contains the teacher, for documents.
        exported_by: The command that writes the graphs if the repository does not contain them.
        folder: Local folder of the model in snippets; NAME if empty.
        model_type: Type of the encoder in transformers; empty if the model has none.
    """

    repo_id: str
    prompts: Mapping[str, str]
    length: int | None
    normalized: bool
    graphs: Sequence[str] = ()
    asymmetric: bool = False
    exported_by: str = ""
    folder: str = ""
    model_type: str = ""

    @property
    def runs_in_transformers_js(self) -> bool:
        """Whether transformers.js reads the graph: for some types, transformers.js expects an encoder and a decoder."""
        return "onnx" in self.graphs and self.model_type not in _ENCODER_DECODER

    @property
    def name(self) -> str:
        """Title of the card, and local folder of the model in snippets."""
        return self.folder or self.repo_id.rpartition("/")[2]


def read_hosted(folder: Path, repo_id: str, *, asymmetric: bool = False) -> Hosted:
    """Read the model files in ``folder``, without loading the model, for a card under ``repo_id``.

    Raises:
        InputError: If ``repo_id`` is not valid, or ``folder`` contains no model.
    """
    check_repo_id(repo_id)
    limits = folder / "sentence_bert_config.json"  # absent in a static model, which has no limit
    prompts: dict[str, str] = _read(folder / "config_sentence_transformers.json", "prompts")
    modules: list[dict[str, str]] = _read(folder / "modules.json")
    return Hosted(
        repo_id,
        {kind: prompt_for(prompts, kind) for kind in KINDS},
        _read(limits, "max_seq_length") if limits.is_file() else None,
        any(module["type"].endswith(".Normalize") for module in modules),
        () if asymmetric else list(exported_files(folder)),
        asymmetric,
        model_type=json_or(folder / "config.json", {}).get("model_type", ""),
    )


def _read(path: Path, key: str | None = None) -> Any:  # noqa: ANN401  (JSON)
    """Return the JSON in ``path``, or its value under ``key``."""
    try:
        found = read_json(path)
        return found if key is None else found[key]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): train the model again") from error
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: expected the key {key}, found none: train the model again") from error
