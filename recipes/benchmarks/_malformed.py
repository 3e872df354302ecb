"""Damage to valid files for `fuzz.py`: each function takes a random generator and a file, and replaces the file."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_DEPTH = 100_000  # of nested brackets, beyond Python's recursion limit
_LONG = 1 << 20
_BOMB_ROWS, _BOMB_TEXT = 64, "a" * (4 << 20)  # 256 MiB of text, which parquet compresses to a few KiB
_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1 << 70,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "\0",
    "\ud800",
    "../../etc/passwd",
    "/dev/zero",
    "a\nb\x1b[31m",
    "x" * _LONG,
    [],
    {},
    [[[[]]]],
    {"": {"": None}},
)
_NUMBERS = (b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"-Infinity", b"9" * 30, b"9" * 5000, b"1.5", b"0x10")

Damage = Callable[[Random, Path], None]


def damages(path: Path) -> tuple[Damage, ...]:
    """Return the kinds of damage that a file with the ending of ``path`` can have."""
    special = _SPECIAL.get(path.suffix, ())
    return (*_ANY, *special, *special)  # the special kinds reach further into the readers


def _bits(rng: Random, content: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 8, 64))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _truncated(rng: Random, content: bytearray) -> None:
    del content[rng.randrange(len(content)) :]


def _swapped(rng: Random, content: bytearray) -> None:
    first, second = (rng.randrange(len(content)) for _ in range(2))
    content[first], content[second] = content[second], content[first]


def _inserted(rng: Random, content: bytearray) -> None:
    place = rng.randrange(len(content))
    content[place:place] = rng.choice((b"\0", b"\xff\xfe", b"\xc3", b'"', b"\r", b"\n\n", b"\t", rng.randbytes(100)))


def _repeated(rng: Random, content: bytearray) -> None:
    start = rng.randrange(len(content))
    content[start:start] = content[start : start + rng.randrange(1, 200)]


def _removed(rng: Random, content: bytearray) -> None:
    start = rng.randrange(len(content))
    del content[start : start + rng.randrange(1, 200)]


def _number(rng: Random, content: bytearray) -> None:
    if numbers := list(re.finditer(rb"\d+", content)):
        number = rng.choice(numbers)
        content[number.start() : number.end()] = rng.choice(_NUMBERS)


def _random_bytes(rng: Random, content: bytearray) -> None:
    content[:] = rng.randbytes(rng.randrange(1, 2000))


def _encoded(rng: Random, content: bytearray) -> None:
    encoding = rng.choice(("utf-16", "utf-16-be", "utf-32", "utf-7"))
    content[:] = content.decode("latin-1").encode(encoding)


def _header_length(rng: Random, content: bytearray) -> None:
    length = rng.choice((0, 1, 1 << 31, 1 << 40, (1 << 64) - 1, len(content), len(content) - 8))
    content[:8] = length.to_bytes(8, "little")


def _header_value(rng: Random, content: bytearray) -> None:
    """Change a value of the JSON header of safetensors: an offset, a shape, a dtype."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    _change_value(rng, header)
    encoded = json.dumps(header).encode()
    content[:end] = len(encoded).to_bytes(8, "little") + encoded


def _json_value(rng: Random, content: bytearray) -> None:
    value = json.loads(content)
    content[:] = json.dumps(_change_value(rng, value)).encode()


def _json_line(rng: Random, content: bytearray) -> None:
    lines = content.splitlines()
    number = rng.randrange(len(lines))
    lines[number] = json.dumps(_change_value(rng, json.loads(lines[number]))).encode()
    content[:] = b"\n".join(lines)


def _json_key(rng: Random, content: bytearray) -> None:
    """Remove, add or rename a key of an object."""
    value = json.loads(content)
    objects = [item for item in _containers(value) if isinstance(item, dict) and item]
    if objects:
        chosen = rng.choice(objects)
        key = rng.choice(list(chosen))
        old = chosen.pop(key)
        if rng.random() < 0.4:
            chosen[rng.choice(("", "unknown", key.upper(), "__class__", "\0"))] = old
    content[:] = json.dumps(value).encode()


def _json_duplicate(rng: Random, content: bytearray) -> None:
    if keys := list(re.finditer(rb'"(\w+)":', content)):
        key = rng.choice(keys)
        content[key.start() : key.start()] = b'"' + key[1] + b'": null, '


def _deep(rng: Random, content: bytearray) -> None:
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    content[:] = opening * _DEPTH + rng.choice((b"1" + closing * _DEPTH, b""))


def _change_value(rng: Random, value: Any) -> Any:  # noqa: ANN401  (JSON)
    """Replace a value at a random place of ``value``, or ``value`` itself, and return the result."""
    containers = [item for item in _containers(value) if item]
    new = rng.choice(_VALUES)
    if not containers or rng.random() < 0.1:
        return new
    container = rng.choice(containers)
    container[rng.choice(list(container) if isinstance(container, dict) else range(len(container)))] = new
    return value


def _containers(value: Any) -> list[Any]:  # noqa: ANN401  (JSON)
    """Return every object and list in ``value``."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [value] if isinstance(value, dict | list) else []
    return [*own, *(found for item in inner for found in _containers(item))]


def _column_type(rng: Random, path: Path) -> None:
    """Replace a column by one of another type, or give two columns the same name."""
    table = _read(path)
    rows, place = len(table), rng.randrange(table.num_columns)
    columns: tuple[Any, ...] = (
        pa.nulls(rows),
        pa.array(range(rows)),
        pa.array([float("nan")] * rows),
        pa.array([[["a"]]] * rows),
        pa.array([{"a": 1}] * rows),
        pa.array([b"\xff\0"] * rows),
        pa.array(["a"] * rows).dictionary_encode(),
        pa.array([None, "a"] * rows)[:rows],
        pa.array([True] * rows),
        pa.array([b"\xff\xfe"] * rows, pa.binary()).view(pa.string()),
        pa.array([0] * rows, pa.timestamp("ns")),
        pa.array([[0.5]] * rows, pa.list_(pa.float32())),
        pa.array([[float("inf")] * 32] * rows, pa.list_(pa.float64(), 32)),
    )
    name = table.column_names[place]
    changed = table.set_column(place, name, rng.choice(columns))
    if rng.random() < 0.2:
        changed = table.append_column(name, rng.choice(columns))
    if rng.random() < 0.1:
        changed = table.slice(0, 0)
    _write(changed, path)


def _bomb(_: Random, path: Path) -> None:
    """Write a small parquet file of large texts."""
    table = _read(path)
    rows = {name: [_BOMB_TEXT] * _BOMB_ROWS for name in table.column_names}
    pq.write_table(pa.table(rows), path, compression="zstd")


def _read(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    with pa.OSFile(str(path)) as file:
        return (pa.ipc.open_stream if _is_stream(path) else pa.ipc.open_file)(file).read_all()


def _write(table: pa.Table, path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return
    with (pa.ipc.new_stream if _is_stream(path) else pa.ipc.new_file)(str(path), table.schema) as writer:
        writer.write_table(table)


def _is_stream(path: Path) -> bool:
    """Return whether the Arrow file ``path`` is a stream, as the shards of a store are."""
    return path.name.startswith("shard-")


def _empty(_: Random, path: Path) -> None:
    path.write_bytes(b"")


def _missing(_: Random, path: Path) -> None:
    path.unlink()


def _folder(_: Random, path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(_: Random, path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(rng: Random, path: Path) -> None:
    target = rng.choice((path.name, "missing", "/dev/zero", "/dev/null"))
    path.unlink()
    path.symlink_to(target)


def _other_format(rng: Random, path: Path) -> None:
    """Replace the file by another valid file of its folder."""
    others = [other for other in sorted(path.parent.iterdir()) if other.is_file() and other != path]
    if others:
        shutil.copy(rng.choice(others), path)


def _to_content(change: Callable[[Random, bytearray], None]) -> Damage:
    def damage(rng: Random, path: Path) -> None:
        content = bytearray(path.read_bytes())
        change(rng, content)
        path.write_bytes(content)

    damage.__name__ = change.__name__
    return damage


_ANY: tuple[Damage, ...] = (
    *map(
        _to_content,
        (_bits, _truncated, _swapped, _inserted, _repeated, _removed, _number, _random_bytes, _encoded),
    ),
    *(_empty, _missing, _folder, _fifo, _link, _other_format),
)
_SPECIAL: dict[str, tuple[Damage, ...]] = {
    ".json": tuple(map(_to_content, (_json_value, _json_key, _json_duplicate, _deep))),
    ".jsonl": tuple(map(_to_content, (_json_line, _deep))),
    ".parquet": (_column_type, _bomb),
    ".arrow": (_column_type,),
    ".feather": (_column_type,),
    ".safetensors": tuple(map(_to_content, (_header_length, _header_value))),
}
