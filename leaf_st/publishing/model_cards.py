"""The cards in model_cards/ of the repository: generated from what is published of a model, or measured here.

``python -m leaf_st.publishing.model_cards`` writes all of them anew. With a run, and the id under which it is
published, it first copies what the card needs of it, so that the card can be made again without the run:
``python -m leaf_st.publishing.model_cards runs/leaf-mini OWNER/leaf-mini``.
"""

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from leaf_st.atomic import replace_folder, write_json
from leaf_st.errors import InputError
from leaf_st.evaluation import rows as files
from leaf_st.evaluation.results import TASKS
from leaf_st.evaluation.rows import read_as, write_rows
from leaf_st.evaluation.tasks.runner import CACHE
from leaf_st.publishing.bare import without_folders
from leaf_st.publishing.card import of_mteb, render, require_results
from leaf_st.publishing.hosted import Hosted, read_hosted
from leaf_st.publishing.measured import TRAINING, read_measured
from leaf_st.publishing.published import published_card, published_names
from leaf_st.publishing.verify import require_run

MODEL_CARDS = Path("model_cards")
_HOSTED = "hosted.json"
# Samples are texts of others, and stay where they are.
_COPIED = (TRAINING, files.ALIGNMENT, files.MODELS, files.COMPRESSION, files.INDEX, files.MARGIN)


def model_cards(folder: Path = MODEL_CARDS) -> Iterator[tuple[str, str]]:
    """Yield name and text of each card: of the published models, and of the runs that `add_run` put into ``folder``."""
    for name in published_names():
        yield name, published_card(name)
    for path in sorted(folder.glob(f"*/{_HOSTED}")):
        hosted = read_as(path, Hosted, "what a card says of a model")
        measured = read_measured(path.parent)
        tasks = {name: of.task for name, of in of_mteb(measured, hosted).items()}
        yield path.parent.name, render(without_folders(measured), hosted, tasks)


def write_model_cards(folder: Path = MODEL_CARDS) -> list[Path]:
    """Write the cards; returns their files."""
    folder.mkdir(exist_ok=True)
    written = []
    for name, text in model_cards(folder):
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
        written.append(folder / f"{name}.md")
    return written


def add_run(run: Path, repo_id: str, folder: Path = MODEL_CARDS) -> None:
    """Copy what the card of ``run`` is made of into ``folder``, without the paths of this machine.

    Raises:
        InputError: If ``run`` has no model or no results, or they cannot be used.
    """
    require_run(run)
    require_results(run)
    hosted = read_hosted(run / "model", repo_id)
    folder.mkdir(exist_ok=True)
    replace_folder(folder / hosted.name, lambda fresh: _copy(run, hosted, fresh))


def _copy(run: Path, hosted: Hosted, folder: Path) -> None:
    whole = read_measured(run)
    bare = without_folders(whole)
    results = folder / "results"
    results.mkdir(parents=True)
    record: dict[str, Any] = bare.record.model_dump()
    write_json(folder / "recipe.json", {"recipe": record["resolved"], **record})
    write_json(folder / _HOSTED, asdict(replace(hosted, graphs=list(hosted.graphs))))
    for name in _COPIED:
        if (run / "results" / name).is_file():
            shutil.copyfile(run / "results" / name, results / name)
    of_paths: dict[str, Sequence[Any]] = {TASKS: bare.tasks, files.LATENCY: bare.latency, files.EXPORT: bare.exported}
    for name, rows in of_paths.items():
        if rows:
            write_rows(results / name, rows)
    for of in of_mteb(whole, hosted).values():
        kept = results / CACHE / of.path.relative_to(run / "results" / CACHE)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(of.path, kept)


if __name__ == "__main__":
    try:
        if sys.argv[1:]:
            source, published_as = sys.argv[1:]
            add_run(Path(source), published_as)
        print(*write_model_cards(), sep="\n")
    except InputError as error:
        sys.exit(f"model_cards: {error}")
