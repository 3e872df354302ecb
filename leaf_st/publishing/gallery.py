"""The gallery ``model_cards/`` of the repository: a card for each model, from published figures or from a run.

``python -m leaf_st.publishing.gallery`` writes all cards. ``python -m leaf_st.publishing.gallery runs/leaf-mini
OWNER/leaf-mini`` first copies the results of a run into the gallery, so that the card can be written without the run.
"""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from leaf_st.atomic import replace_folder, write_json
from leaf_st.errors import InputError
from leaf_st.evaluation.measurements import registry
from leaf_st.evaluation.rows import read_as, write_rows
from leaf_st.evaluation.sizes import MODELS
from leaf_st.publishing.card.card import mteb_results, run_card
from leaf_st.publishing.card.hosted import Hosted, read_hosted
from leaf_st.publishing.paper_figures.published import published_card, published_names
from leaf_st.publishing.results import Results, read_results, require_results, strip_folders
from leaf_st.run_folder import MODEL, RECIPE, RESULTS, require_run

GALLERY = Path("model_cards")
_HOSTED = "hosted.json"


def model_cards(folder: Path = GALLERY) -> Iterator[tuple[str, str]]:
    """Yield name and text of each card: first the published models, then the runs that `add_run` copied."""
    for name in published_names():
        yield name, published_card(name)
    for path in sorted(folder.glob(f"*/{_HOSTED}")):
        hosted = read_as(path, Hosted, "the facts about a model that a card states")
        yield path.parent.name, run_card(read_results(path.parent), hosted)


def write_model_cards(folder: Path = GALLERY) -> list[Path]:
    """Write the cards and return their files."""
    folder.mkdir(exist_ok=True)
    written = []
    for name, text in model_cards(folder):
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
        written.append(folder / f"{name}.md")
    return written


def add_run(run: Path, repo_id: str, folder: Path = GALLERY) -> None:
    """Copy the results of ``run`` into ``folder``, without paths of this machine.

    Raises:
        InputError: If the model or the results of ``run`` are missing or cannot be used.
    """
    require_run(run)
    require_results(run)
    results, hosted = read_results(run), read_hosted(run / MODEL, repo_id)
    folder.mkdir(exist_ok=True)
    replace_folder(folder / hosted.name, lambda temporary: _copy(results, hosted, temporary))


def _copy(results: Results, hosted: Hosted, folder: Path) -> None:
    shared, target = strip_folders(results), folder / RESULTS
    target.mkdir(parents=True)
    record: dict[str, Any] = shared.record.model_dump()
    write_json(folder / RECIPE, {"recipe": record["resolved"], **record})
    write_json(folder / _HOSTED, asdict(replace(hosted, graphs=list(hosted.graphs))))
    source = results.run / RESULTS
    if results.sizes:
        shutil.copyfile(source / MODELS, target / MODELS)
    for measurement in registry.MEASUREMENTS:
        rows = shared.rows(measurement)
        if not rows or not measurement.shareable:
            continue
        if rows == results.rows(measurement):
            shutil.copyfile(source / measurement.file, target / measurement.file)
        else:
            write_rows(target / measurement.file, rows)
    for found in mteb_results(results, hosted).values():
        copy = target / found.path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found.path, copy)


if __name__ == "__main__":
    try:
        if sys.argv[1:]:
            source, published_as = sys.argv[1:]
            add_run(Path(source), published_as)
        print(*write_model_cards(), sep="\n")
    except InputError as error:
        sys.exit(f"gallery: {error}")
