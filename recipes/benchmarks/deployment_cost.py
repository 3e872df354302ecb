"""Cost of each form of a student on one core: bytes on disk, memory, time to start, and milliseconds for a query.

Command:  python recipes/benchmarks/deployment_cost.py MODEL [MODEL ...] --texts FOLDER

MODEL is a folder of a student. A student with an encoder runs with sentence-transformers and in each form that
`leaf-st export` wrote, a static student with sentence-transformers and with `static_query.py`, which needs only NumPy,
tokenizers and safetensors. FOLDER is a BEIR folder, or a table with a column `kind`. Each form runs in new processes,
which encode the same queries one by one. "start" is the time from the start of a process to its first vector.

Result:   docs/deployment.md has the table: from 10.1 ms and 645 MB with sentence-transformers to 0.8 ms and 95 MB
          with ONNX int8, and 0.05 ms and 126 MB for a static student with NumPy.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from leaf_st.evaluation.measurements.candidates import latency_texts
from leaf_st.export.forms import exported_files
from leaf_st.models.load import load_model
from leaf_st.models.prompts import prompt_for
from leaf_st.publishing.card.render import onnx_snippet
from leaf_st.student.static import is_static
from leaf_st.tables import aligned

STARTS = 5
QUERIES = 200
STATIC_QUERY = Path(__file__).with_name("static_query.py")
_CORE = """
import os, sys, time
started = float(sys.argv[2])
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
"""
_TORCH = """
from sentence_transformers import SentenceTransformer
model = SentenceTransformer({folder!r}, device="cpu")
encode = lambda texts, prompt: model.encode(texts, prompt=prompt)
"""
_STATIC = """
sys.path.insert(0, {scripts!r})
from static_query import open_static
encode_texts = open_static({folder!r})
encode = lambda texts, prompt: encode_texts([prompt + text for text in texts])
"""
_TIMED = """
import json
given = json.load(open(sys.argv[1]))
encode(given["queries"][:1], given["prompt"])
start = time.time() - started
times = []
for query in given["queries"]:
    begin = time.perf_counter()
    encode([query], given["prompt"])
    times.append(1000 * (time.perf_counter() - begin))
peak = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
print(json.dumps({"start": start, "ms": sorted(times)[len(times) // 2], "kibibytes": int(peak)}))
"""


def main() -> None:
    """Print one row for each model and form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="folder of a student")
    parser.add_argument("--texts", required=True, metavar="FOLDER", help="queries and documents")
    options = parser.parse_args()
    queries = latency_texts(options.texts, "--texts")["query"][:QUERIES]
    lines = [["student", "form", "files", "memory", "start", "a query"]]
    with TemporaryDirectory() as temporary:
        for folder in options.models:
            given = Path(temporary) / "given.json"
            prompt = prompt_for(load_model(str(folder)).prompts, "query")
            given.write_text(json.dumps({"queries": queries, "prompt": prompt}), encoding="utf-8")
            for form, size, code in tqdm([*_forms(folder)], str(folder), leave=False):
                lines.append([str(folder), form, f"{size / 1e6:.1f} MB", *_measure(code, given)])
    print(f"{len(queries)} queries, one core, median of {STARTS} processes")
    print(aligned(lines, left=2))


def _forms(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Yield name, bytes of files, and code that defines ``encode``, for each form of the student in ``folder``."""
    weights = [path for path in folder.rglob("*.safetensors") if path.is_file()]
    tokenizer = next(folder.rglob("tokenizer.json")).stat().st_size
    size = tokenizer + sum(path.stat().st_size for path in weights)
    yield "sentence-transformers", size, _TORCH.format(folder=str(folder))
    model = load_model(str(folder))
    if is_static(model):
        yield "NumPy", size, _STATIC.format(scripts=str(STATIC_QUERY.parent), folder=str(folder))
        return
    for name, file in exported_files(folder).items():
        code = onnx_snippet(str(folder), model.prompts, model.max_seq_length, name).partition("queries =")[0]
        yield name, tokenizer + file.stat().st_size, code


def _measure(code: str, given: Path) -> list[str]:
    """Return memory, time to start and time of a query, each as text."""
    runs = [_run(_CORE + code + _TIMED, given) for _ in range(STARTS)]
    median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    return [f"{median['kibibytes'] * 1024 / 1e6:.0f} MB", f"{median['start']:.2f} s", f"{median['ms']:.2f} ms"]


def _run(code: str, given: Path) -> dict[str, float]:
    command = [sys.executable, "-c", code, str(given), str(time.time())]
    variables = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
