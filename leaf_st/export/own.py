"""Which graphs in a model folder are those of an export: no other file is replaced or deleted, and no other is timed.

Many models on the hub have an ``onnx/model.onnx`` of another program, often without pooling and projection. The record
of a trained model lists the checksums of its files. A copy of a published model has no such list, and a kill can leave
a graph that is not listed yet, so each graph also carries a mark.
"""

import hashlib
from pathlib import Path

from leaf_st.models.intact import is_recorded

_KEY = b"leaf_st"


def mark(graph: Path) -> None:
    """Append the mark to an ONNX file: metadata with the checksum of the content before the mark."""
    with graph.open("r+b") as file:
        file.write(_mark(hashlib.file_digest(file, "sha256").hexdigest()))


def is_own(folder: Path, graph: Path) -> bool:
    """Return whether an export wrote the file ``graph`` of the model in ``folder``, and nobody changed the file."""
    return _is_marked(graph) or is_recorded(folder, graph.relative_to(folder))


def _is_marked(graph: Path) -> bool:
    checksum = hashlib.sha256()
    left = max(0, graph.stat().st_size - len(_mark(checksum.hexdigest())))
    with graph.open("rb") as file:
        while block := file.read(min(left, 1 << 20)):
            checksum.update(block)
            left -= len(block)
        return file.read() == _mark(checksum.hexdigest())


def _mark(checksum: str) -> bytes:
    """Return the entry ``leaf_st: checksum`` of the metadata of an ONNX file.

    An ONNX file is a protobuf message, to which a field can be appended. The metadata is field 14. An entry has its key
    in field 1 and its value in field 2.
    """
    return _field(14, _field(1, _KEY) + _field(2, checksum.encode()))


def _field(number: int, content: bytes) -> bytes:
    """Return a field of bytes, which has type 2; a number below 16 and a length below 128 take one byte each."""
    return bytes([number << 3 | 2, len(content)]) + content
