"""From the hub to local files: the paper's sources, streamed, cut to what the student reads, in parts.

texts/NAME/00000.parquet  columns text, kind
texts/NAME/progress.json  what was read so far; written after each part

The texts of the part in flight are in memory, and what `leaf_st.texts.paper.stream` holds. A kill loses no more than
that part, and the next call goes on behind it, at the same commit of the dataset.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from leaf_st.atomic import write_json, write_whole
from leaf_st.errors import InputError
from leaf_st.recipe import TextsSpec
from leaf_st.texts.dedupe import Deduplicator
from leaf_st.texts.paper.cut import Cutter
from leaf_st.texts.paper.sample import Position
from leaf_st.texts.paper.sources import SOURCES, Source
from leaf_st.texts.paper.stream import check_source, leave_out, stream_texts
from leaf_st.texts.text import Text

_PART_ROWS = 32 * 1024
_FAR_BELOW = 0.9  # of the paper's count, which is rounded


@dataclass
class _Progress:
    """Where a source stands.

    Attributes:
        parts: Files written.
        rows: Texts in them.
        place: Behind the last of these.
        done: Whether nothing is left.
        commit: Of the dataset.
    """

    parts: int = 0
    rows: int = 0
    place: Position = field(default_factory=Position)
    done: bool = False
    commit: str | None = None


def fetch(spec: TextsSpec, folder: Path, student: SentenceTransformer) -> dict[str, int]:
    """Put the sources of ``spec`` into ``folder``, cut to what ``student`` reads; returns the texts of each.

    All datasets are looked into before the first is read. While one process fetches, others wait.

    Raises:
        InputError: If the hub cannot be reached, a dataset is not as `leaf_st.texts.paper.sources` says, or texts are
            there of a source that is left out now.
    """
    cutter = Cutter(student)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        _require_no_others(folder, spec)
        begun = {name: _read_progress(folder / name) for name in chosen(spec)}
        new = [name for name, progress in begun.items() if progress.commit is None and SOURCES[name].hub_id]
        for name in tqdm(new, desc="looking into the datasets", unit=" datasets", disable=not new):
            begun[name].commit = check_source(name, SOURCES[name])
        return {name: _fetch(name, spec, folder / name, cutter, progress) for name, progress in begun.items()}


def chosen(spec: TextsSpec) -> list[str]:
    """Return the names of the sources that ``spec`` does not leave out.

    Raises:
        InputError: If it leaves out one that there is not, or all.
    """
    if unknown := set(spec.leave_out) - set(SOURCES):
        raise InputError(f"texts.leave_out: no source {sorted(unknown)[0]!r}, expected some of {', '.join(SOURCES)}")
    names = [name for name in SOURCES if name not in spec.leave_out]
    if not names:
        raise InputError("texts.leave_out: expected at least one source that stays")
    return names


def provenance(spec: TextsSpec, folder: Path) -> dict[str, dict[str, str | None]]:
    """Return dataset, commit (None before it was looked into) and licence of each source of ``spec``."""
    return {
        name: {
            "dataset": SOURCES[name].hub_id,
            "commit": _read_progress(folder / name).commit,
            "licence": SOURCES[name].licence,
        }
        for name in chosen(spec)
    }


def closed_licences(spec: TextsSpec) -> str:
    """Return the sources of ``spec`` whose licences are not open, with these."""
    return ", ".join(f"{name}: {SOURCES[name].licence}" for name in chosen(spec) if not SOURCES[name].is_open)


def format_sources(rows: Mapping[str, int], per_source: int | None = None) -> str:
    """Return a table of ``rows`` by source, beside the paper's counts (Table 1).

    A last line calls out the sources with far fewer texts, but for those of which ``per_source`` asks for fewer.
    """
    lines = [f"{'source':<12} {'kind':<9} {'texts':>10} {'paper':>10}  licence"]
    for name, count in rows.items():
        source = SOURCES[name]
        licence = source.licence if source.is_open else f"{source.licence} (not open)"
        lines.append(f"{name:<12} {source.kind:<9} {count:>10,} {source.expected:>10,}  {licence}")
    expected = {name: SOURCES[name].expected for name in rows}
    lines.append(f"{'total':<12} {'':<9} {sum(rows.values()):>10,} {sum(expected.values()):>10,}")
    asked = {name: count for name, count in expected.items() if per_source is None or per_source >= count}
    if few := [name for name, count in asked.items() if rows[name] < _FAR_BELOW * count]:
        found = ", ".join(f"{name} ({rows[name] / expected[name]:.1%})" for name in few)
        lines.append(f"far fewer texts than in the paper: {found}; the student will learn from another mix")
    return "\n".join(lines)


def _require_no_others(folder: Path, spec: TextsSpec) -> None:
    """Check that ``folder``, all of which is read as texts, holds none of a source that is left out."""
    for name in spec.leave_out:
        if any((folder / name).glob("*.parquet")):
            raise InputError(
                f"texts.leave_out: {folder / name} holds texts of {name}, which is left out: delete that folder, or "
                "do not leave it out"
            )


def _fetch(name: str, spec: TextsSpec, folder: Path, cutter: Cutter, progress: _Progress) -> int:
    """Fetch one source from where it stands; returns its number of texts."""
    if progress.done:
        return progress.rows
    folder.mkdir(exist_ok=True)
    source = replace(SOURCES[name], revision=progress.commit)
    most = spec.per_source
    if source.sample and most:  # as many of each configuration
        source = replace(source, sample=min(source.sample, -(-most // len(source.configs))))
    batches = _texts(name, source, progress.place, cutter)
    if source.distinct:
        batches = _distinct(batches, source, [_part(folder, part) for part in range(progress.parts)])
    if most:
        batches = _first(batches, most - progress.rows)
    part: list[str] = []
    with tqdm(total=most or source.expected, initial=progress.rows, unit=" texts", desc=name, smoothing=0.1) as bar:
        for texts in batches:
            part += texts
            bar.update(len(texts))
            if len(part) >= _PART_ROWS:
                _write_part(folder, part, source, progress)
                part = []
    if not progress.rows + len(part):
        raise InputError(f"source {name} has no texts, expected {source.expected:,}: {leave_out(name)}")
    progress.done = True
    _write_part(folder, part, source, progress)
    return progress.rows


def _distinct(batches: Iterator[list[str]], source: Source, parts: Sequence[Path]) -> Iterator[list[str]]:
    """Yield of ``batches`` the texts that neither came before nor are in ``parts``."""
    with Deduplicator() as seen:
        for part in parts:
            _new(pq.read_table(part)["text"].to_pylist(), source, seen)
        for texts in batches:
            yield _new(texts, source, seen)


def _first(batches: Iterator[list[str]], most: int) -> Iterator[list[str]]:
    """Yield the first ``most`` texts of ``batches``."""
    while most > 0 and (texts := next(batches, None)) is not None:
        yield texts[:most]
        most -= len(texts)


def _write_part(folder: Path, texts: list[str], source: Source, progress: _Progress) -> None:
    if texts:
        table = pa.table({"text": texts, "kind": [source.kind] * len(texts)})
        write_whole(
            _part(folder, progress.parts), lambda temporary: pq.write_table(table, temporary, compression="zstd")
        )
        progress.parts += 1
        progress.rows += len(texts)
    write_json(folder / "progress.json", asdict(progress))


def _part(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.parquet"


def _new(texts: Sequence[str], source: Source, seen: Deduplicator) -> list[str]:
    """Return those of ``texts`` that were not seen before."""
    return [text for text in texts if seen.is_new(Text(text, source.kind))]


def _read_progress(folder: Path) -> _Progress:
    path = folder / "progress.json"
    if not path.is_file():
        return _Progress()
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        progress = _Progress(**{**known, "place": Position(**known["place"])})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}): delete {folder}, it is fetched again") from error
    if lost := [part for part in range(progress.parts) if not _part(folder, part).is_file()]:
        raise InputError(f"{_part(folder, lost[0])} is not there any more: delete {folder}, it is fetched again")
    return progress


def _texts(name: str, source: Source, place: Position, cutter: Cutter) -> Iterator[list[str]]:
    """Yield the texts of a source by the batch, cut; ``place`` says how far, after each."""
    if source.hub_id is None:
        yield cutter.vocabulary()
        return
    for texts in stream_texts(name, source, place):
        yield cutter.cut(texts)
