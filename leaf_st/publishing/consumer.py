"""What a consumer of a model folder gets, in a process of its own: no leaf_st, no network, no code of the model's.

Run as a script: python -P consumer.py FOLDER TEXTS.json VECTORS.npz. Its last line is a JSON object.
"""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Reading:
    """What plain ``SentenceTransformer(folder)`` made of a folder.

    Attributes:
        modules: Names of its modules.
        version: Of sentence-transformers.
        dimension: Width that the model says it has.
        prompts: Prompt by name.
        similarity: Name of its similarity function.
        query: Vectors of ``encode_query``, shape (n, d).
        document: Vectors of ``encode_document``, shape (n, d).
    """

    modules: list[str]
    version: str
    dimension: int
    prompts: dict[str, str]
    similarity: str
    query: NDArray[np.float32]
    document: NDArray[np.float32]


def read_as_consumer(folder: Path, texts: Sequence[str]) -> Reading | str:
    """Return what a consumer gets of ``folder``, or the last line of what went wrong."""
    with tempfile.TemporaryDirectory() as scratch:
        asked, vectors = Path(scratch, "texts.json"), Path(scratch, "vectors.npz")
        asked.write_text(json.dumps(list(texts)), encoding="utf-8")
        # -P, or the folder of this file and the one the user is in would be looked into for modules.
        command = [sys.executable, "-P", __file__, str(folder), str(asked), str(vectors)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
        with np.load(vectors) as sides:
            return Reading(**json.loads(done.stdout.splitlines()[-1]), **sides)


def _no_network(*_: object) -> NoReturn:
    raise OSError("the network was asked for")


def _read(folder: str, texts: list[str], vectors: str) -> dict[str, Any]:
    sys.modules["leaf_st"] = None  # type: ignore[assignment]  # whoever imports it fails
    socket.socket.connect = _no_network  # type: ignore[method-assign]
    import sentence_transformers

    model = sentence_transformers.SentenceTransformer(folder, device="cpu", local_files_only=True)
    np.savez(vectors, query=model.encode_query(texts), document=model.encode_document(texts))
    return {
        "modules": [type(module).__name__ for module in model],
        "version": sentence_transformers.__version__,
        "dimension": model.get_embedding_dimension(),
        "prompts": model.prompts,
        "similarity": model.similarity_fn_name,
    }


if __name__ == "__main__":
    print(json.dumps(_read(sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")), sys.argv[3])))
