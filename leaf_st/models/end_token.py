"""End tokens that the settings of a tokenizer ask for, and that transformers leaves out since version 5.

Teachers of the family of Mistral, such as e5-mistral, pool the last token, which is the end token of each text. Their
tokenizer.json does not add this token: add_eos_token in tokenizer_config.json does, which transformers now ignores for
a tokenizer with a tokenizer.json.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from leaf_st.atomic import json_or
from leaf_st.errors import InputError
from leaf_st.models.parts import parts_of

if TYPE_CHECKING:
    from sentence_transformers.sentence_transformer.modules import Transformer

# How the classes begin that followed the setting before version 5. Other fast tokenizers always ignored it.
FOLLOWED_BY = ("Llama", "CodeLlama", "Gemma", "Cohere")
_WITH = " with "  # separates the hash of a model's files from the added end tokens in a revision


def missing_end_tokens(folder: Path) -> Iterator[str | None]:
    """Yield for each Transformer in ``folder`` the end token that its tokenizer would leave out; None without one."""
    for part, kind in parts_of(folder):
        if kind.startswith("sentence_transformers.") and kind.endswith(".Transformer"):
            yield _missing_end_token(part)


def _missing_end_token(part: Path) -> str | None:
    config, path = json_or(part / "tokenizer_config.json", {}), part / "tokenizer.json"
    token = token_of(config, "eos_token")
    is_asked = config.get("add_eos_token") is True and str(config.get("tokenizer_class")).startswith(FOLLOWED_BY)
    if not is_asked or not isinstance(token, str) or not path.is_file():
        return None
    try:
        tokenizer: Any = Tokenizer.from_file(str(path))
    except Exception:  # tokenizers raises plain exceptions; loading the model names the damage
        return None
    tokenizer.no_padding()
    return None if tokenizer.encode("a").tokens[-1:] == [token] else token


def token_of(config: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401  (any JSON value)
    """Return the text of the token ``key``, such as "eos_token", in the ``config`` of a tokenizer."""
    token = config.get(key)
    return token.get("content") if isinstance(token, dict) else token


def add_end_token(transformer: "Transformer") -> None:
    """Let the tokenizer of ``transformer`` end each text with its end token."""
    tokenizer: Any = transformer.tokenizer
    # Setting add_eos_token replaces the rule of tokenizer.json, whose first token transformers does not know.
    tokenizer._add_bos_token = tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    tokenizer.add_eos_token = True


def with_end_tokens(revision: str, folder: Path) -> str:
    """Return ``revision``, a hash of the model in ``folder``, with the names of the end tokens that loading adds.

    Earlier versions of this package embedded texts without these tokens.
    """
    added = sorted({token for token in missing_end_tokens(folder) if token is not None})
    return f"{revision}{_WITH}{' and '.join(added)}" if added else revision


def end_tokens_of(revision: str) -> str:
    """Return the end tokens that `with_end_tokens` named in ``revision``; an empty text if there are none."""
    return revision.partition(_WITH)[2]


def require_end_tokens(known: str, revision: str, what: str) -> None:
    """Check that the vectors with the revision ``known`` have the end tokens of the teacher with ``revision``.

    Args:
        known: The recorded revision.
        revision: The revision of the teacher, of the same files or of others.
        what: What the vectors made, such as "store FOLDER".

    Raises:
        InputError: If an earlier version of this package made the vectors with the same files.
    """
    files, _, tokens = revision.partition(_WITH)
    if tokens and known == files:
        raise InputError(
            f"{what} was made by an earlier version of leaf-st, which left out the end token {tokens} of each text: "
            f"expected the teacher's revision {revision}, found {known}: embed and train again in another output folder"
        )
