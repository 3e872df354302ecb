"""Download the paper's sources from the hub: streamed, cut to the tokens that the student reads, written in parts.

texts/NAME/00000.parquet  columns text and kind
texts/NAME/progress.json  position in the source; written after each part

Memory holds the texts of one part and the data of `leaf_st.texts.paper.stream`. A killed process loses at most
this part. The next call resumes after the last complete part, at the same commit of the data set.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from tqdm import tqdm

from leaf_st.atomic import make_folder, write_json, write_whole
from leaf_st.errors import InputError
from leaf_st.recipe import TextsSpec
from leaf_st.tables import aligned
from leaf_st.texts.cut import Cutter, is_too_short
from leaf_st.texts.dedupe import Deduplicator
from leaf_st.texts.paper.sample import Position
from leaf_st.texts.paper.sources import SOURCES, Source
from leaf_st.texts.paper.stream import check_source, leave_out, stream_texts

_PART_ROWS = 32 * 1024
_FAR_BELOW = 0.9  # share of the paper's count, which is rounded


@dataclass
class _Progress:
    """Progress of one source.

    Attributes:
        parts: Files written.
        rows: Texts in these files.
        place: Position after the last of these texts.
        done: Whether the source is complete.
        commit: Commit of the data set.
        cut_at: Tokens to which the texts were cut; None if they are complete, or if an earlier version cut them.
    """

    parts: int = 0
    rows: int = 0
    place: Position = field(default_factory=Position)
    done: bool = False
    commit: str | None = None
    cut_at: int | None = None


def fetch(spec: TextsSpec, folder: Path, cutter: Cutter) -> dict[str, int]:
    """Download the sources of ``spec`` into ``folder``, cut by ``cutter``; returns the number of texts of each.

    All data sets are checked before the first one is read. While one process downloads, other processes wait.

    Raises:
        InputError: If the hub cannot be reached, a data set differs from its declaration in
            `leaf_st.texts.paper.sources`, or ``folder`` contains texts of a source that ``spec`` leaves out, or texts
            that were cut to fewer tokens.
    """
    make_folder(folder)
    with FileLock(folder / ".lock"):
        _require_no_others(folder, spec)
        progress = {name: _read_progress(folder / name) for name in selected_sources(spec)}
        _require_long_enough(folder, progress, cutter)
        unchecked = [name for name in progress if progress[name].commit is None and SOURCES[name].hub_id]
        for name in tqdm(unchecked, desc="checking the data sets", unit=" data sets", disable=not unchecked):
            progress[name].commit = check_source(name, SOURCES[name])
        return {name: _fetch(name, spec, folder / name, cutter, found) for name, found in progress.items()}


def selected_sources(spec: TextsSpec) -> list[str]:
    """Return the names of the sources that ``spec`` does not leave out.

    Raises:
        InputError: If ``spec`` leaves out an unknown source, or all sources.
    """
    if unknown := set(spec.leave_out) - set(SOURCES):
        raise InputError(
            f"texts.leave_out: expected some of {', '.join(SOURCES)}, found {sorted(unknown)[0]!r}: correct the name"
        )
    names = [name for name in SOURCES if name not in spec.leave_out]
    if not names:
        raise InputError("texts.leave_out: expected at least one remaining source, found none: leave out fewer")
    return names


def provenance(spec: TextsSpec, folder: Path) -> dict[str, dict[str, str | None]]:
    """Return data set, commit (None before the data set was checked) and licence of each source of ``spec``."""
    return {
        name: {
            "dataset": SOURCES[name].hub_id,
            "commit": _read_progress(folder / name).commit,
            "licence": SOURCES[name].licence,
        }
        for name in selected_sources(spec)
    }


def closed_licences(spec: TextsSpec) -> str:
    """Return the sources of ``spec`` without an open licence, each with its licence."""
    return ", ".join(f"{name}: {SOURCES[name].licence}" for name in selected_sources(spec) if not SOURCES[name].is_open)


def format_sources(rows: Mapping[str, int], per_source: int | None = None) -> str:
    """Return a table of ``rows`` by source, with the paper's counts (Table 1).

    The last line names the sources with far fewer texts than in the paper, except those that ``per_source`` limits.
    """
    cells = [("source", "kind", "licence", "texts", "paper")]
    for name, count in rows.items():
        source = SOURCES[name]
        licence = source.licence if source.is_open else f"{source.licence} (not open)"
        cells.append((name, source.kind, licence, f"{count:,}", f"{source.expected:,}"))
    expected = {name: SOURCES[name].expected for name in rows}
    cells.append(("total", "", "", f"{sum(rows.values()):,}", f"{sum(expected.values()):,}"))
    lines = [aligned(cells, left=3)]
    asked = {name: count for name, count in expected.items() if per_source is None or per_source >= count}
    if few := [name for name, count in asked.items() if rows[name] < _FAR_BELOW * count]:
        found = ", ".join(f"{name} ({rows[name] / expected[name]:.1%})" for name in few)
        lines.append(f"far fewer texts than in the paper: {found}; the student learns from another mix")
    return "\n".join(lines)


def _require_no_others(folder: Path, spec: TextsSpec) -> None:
    """Check that ``folder`` contains no source that is left out, because training uses all texts in ``folder``."""
    for name in spec.leave_out:
        if any((folder / name).glob("*.parquet")):
            raise InputError(
                f"texts.leave_out: expected no texts of {name}, found some in {folder / name}: delete that folder, or "
                f"remove {name} from texts.leave_out"
            )


def _require_long_enough(folder: Path, progress: Mapping[str, _Progress], cutter: Cutter) -> None:
    """Check that the texts in ``folder`` were not cut to fewer tokens than the student reads now."""
    now = cutter.max_length
    for name, found in progress.items():
        if is_too_short(found.cut_at, now):
            expected = "complete texts" if now is None else f"texts cut to at least {now:,} tokens"
            raise InputError(
                f"{folder / name}: expected {expected}, the length that the student reads, found texts cut to "
                f"{found.cut_at:,}: delete {folder} to download the texts again, or name another output folder"
            )


def _fetch(name: str, spec: TextsSpec, folder: Path, cutter: Cutter, progress: _Progress) -> int:
    """Download the rest of one source; returns its number of texts."""
    if progress.done:
        return progress.rows
    progress.cut_at = min(filter(None, (progress.cut_at, cutter.max_length)), default=None)
    folder.mkdir(exist_ok=True)
    source = replace(SOURCES[name], revision=progress.commit)
    most = spec.per_source
    if source.sample and most:  # the same number from each configuration
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
        raise InputError(f"source {name}: expected {source.expected:,} texts, found none: {leave_out(name)}")
    progress.done = True
    _write_part(folder, part, source, progress)
    return progress.rows


def _distinct(batches: Iterator[list[str]], source: Source, parts: Sequence[Path]) -> Iterator[list[str]]:
    """Yield the texts of ``batches`` without duplicates of earlier texts and of texts in ``parts``."""
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
    """Return the texts that were not seen before."""
    return [text for text in texts if seen.is_new(source.kind, text)]


def _read_progress(folder: Path) -> _Progress:
    path = folder / "progress.json"
    if not path.is_file():
        return _Progress()
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        progress = _Progress(**{**known, "place": Position(**known["place"])})
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}): delete {folder} to download the source again") from error
    if lost := [part for part in range(progress.parts) if not _part(folder, part).is_file()]:
        raise InputError(f"{_part(folder, lost[0])} is missing: delete {folder} to download the source again")
    return progress


def _texts(name: str, source: Source, place: Position, cutter: Cutter) -> Iterator[list[str]]:
    """Yield the texts of a source, cut, in batches; ``place`` is moved past each batch."""
    if source.hub_id is None:
        yield cutter.vocabulary()
        return
    for texts in stream_texts(name, source, place):
        yield cutter.cut(texts)
