"""Code of a model in another repository on the hub, such as jinaai/jina-bert-implementation.

The model names a class there as ``OWNER/NAME--module.Class``, without a commit. By default transformers reads the code
of the newest commit, so that the same files of a model can give other vectors on another day.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from leaf_st.atomic import json_or
from leaf_st.models.identity import hash_files
from leaf_st.models.parts import parts_of

_CLASSES = ("AutoConfig", "AutoModel", "AutoTokenizer")  # that sentence-transformers loads
_REFERENCE = re.compile(r'"([\w.-]+/[\w.-]+)--(\w+)\.\w+"')


def other_code(folder: Path) -> str | None:
    """Return a hash of the code in other repositories that transformers runs for the model in ``folder``.

    The result is None if there is no such code, or a file of the code is not in the hub's cache.
    """
    from transformers.dynamic_module_utils import get_relative_import_files  # imports torch

    files: set[Path] = set()
    for name, module in _references(folder):
        try:
            path = try_to_load_from_cache(name, f"{module}.py")
            if not isinstance(path, str):
                return None
            files.update(map(Path, [path, *get_relative_import_files(path)]))
        except (OSError, ValueError):  # it imports a file that is not there, or the hub does not allow the name
            return None
    return hash_files(sorted(files)) if files else None


def _references(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the repository and the module of each class in another repository."""
    for part, kind in parts_of(folder):
        own = [json_or(part / name, {}).get("auto_map") for name in ("config.json", "tokenizer_config.json")]
        # A plain list in files of early versions.
        named = [[one.get(key) for key in _CLASSES] if isinstance(one, dict) else one for one in own]
        yield from _REFERENCE.findall(json.dumps([kind, named]))
