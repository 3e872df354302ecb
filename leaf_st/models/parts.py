"""The modules of a model folder, by its JSON files."""

from collections.abc import Iterator
from pathlib import Path

from leaf_st.atomic import json_or


def parts_of(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the folder and the type of each module of the model in ``folder``, the modules of a Router included.

    A folder without modules.json is a Transformer. What cannot be read is left out: loading names the reason.
    """
    modules = json_or(folder / "modules.json", [])
    if not modules:
        yield folder, "sentence_transformers.models.Transformer"
    for module in modules:
        if isinstance(module, dict) and isinstance(module.get("path"), str) and isinstance(module.get("type"), str):
            part = folder / module["path"]
            yield part, module["type"]
            routes = json_or(part / "router_config.json", {}) or json_or(part / "config.json", {})
            types = routes.get("types") if module["type"].endswith((".Router", ".Asym")) else None
            yield from ((part / name, str(kind)) for name, kind in (types if isinstance(types, dict) else {}).items())
