"""A model folder as a consumer loads it: in a separate process without leaf_st, a network, or custom model code.

Run as a script: python -P consumer.py FOLDER TEXTS.json VECTORS.npz. The last line of its output is a JSON object.
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
    """The result of plain ``SentenceTransformer(folder)``.

    Attributes:
        modules: The names of the model's modules.
        version: The version of sentence-transformers.
        dimension: The dimension that the model reports.
        prompts: The prompts by name.
        similarity: The name of the similarity function.
        query: The vectors of ``encode_query``, shape (n, d).
        document: The vectors of ``encode_document``, shape (n, d).
    """

    modules: list[str]
    version: str
    dimension: int
    prompts: dict[str, str]
    similarity: str
    query: NDArray[np.float32]
    document: NDArray[np.float32]


def read_as_consumer(folder: Path, texts: Sequence[str]) -> Reading | str:
    """Load ``folder`` and encode ``texts`` in a separate process; on failure, return the last line of the error."""
    with tempfile.TemporaryDirectory() as scratch:
        inputs, vectors = Path(scratch, "texts.json"), Path(scratch, "vectors.npz")
        inputs.write_text(json.dumps(list(texts)), encoding="utf-8")
        # Without -P, Python would search the folder of this file and the current folder for modules.
        command = [sys.executable, "-P", __file__, str(folder), str(inputs), str(vectors)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip() or f"the process ended with exit code {done.returncode}").splitlines()[-1]
        with np.load(vectors) as sides:
            return Reading(**json.loads(done.stdout.splitlines()[-1]), **sides)


def _no_network(*_: object) -> NoReturn:
    raise OSError("loading the model needs the network")


def _read(folder: str, texts: list[str], vectors: str) -> dict[str, Any]:
    sys.modules["leaf_st"] = None  # type: ignore[assignment]  # an import of leaf_st fails
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
