"""Speed of exported forms: a student's ONNX files against torch and against a teacher in the shape of BERT-base.

Command:  python recipes/benchmarks/exported_speed.py MODEL --texts FOLDER

MODEL is a folder with the files of `leaf-st export`, FOLDER a BEIR folder or a table with a column `kind`. The teacher
has random weights, which are as fast as trained weights. All forms are timed alternately with each query, one at a
time, and the student's forms with each batch of 16 documents. Then each form encodes one query in several new
processes, timed from the start of the process to the first vector.

Result:   2 cores of an EPYC with AVX-512 and bfloat16 units, leaf-mini, one query at a time: int8 is 105x as fast as
          BERT-base and 12x as fast as leaf-mini in torch float32 (2,278, 21.7 and 184 queries/s). Documents in batches
          of 16: int8 10.8x and packed float32 6.2x compared with torch float32 (483, 277 and 45 documents/s). From the
          start of the process to the first vector, and peak memory: int8 0.16 s and 96 MB, torch 5.2 s and 586 MB.
          recipes/benchmarks/README.md has the figures of a student with six layers.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from leaf_st.evaluation.measurements.candidates import latency_texts
from leaf_st.evaluation.measurements.export import rate
from leaf_st.evaluation.measurements.latency_rows import LatencyRow
from leaf_st.evaluation.timing import Candidate, measure_latency, processor_name
from leaf_st.export.forms import FORMS, exported_files
from leaf_st.models.find import find_model
from leaf_st.models.load import load_model
from leaf_st.models.random_weights import save_random_weights
from leaf_st.publishing.card.render import onnx_snippet
from leaf_st.tables import aligned
from leaf_st.zoo import ARCTIC

TEACHER = "BERT-base"
TORCH = "torch float32"
# Required ratios, by side, batch size and reference.
TARGETS = {("query", 1, TEACHER): 25.0, ("query", 1, "student"): 3.5, ("document", 16, "student"): 3.0}
STARTS = 5
WITH_TORCH = """
from sentence_transformers import SentenceTransformer
SentenceTransformer({folder!r}, device="cpu").encode_query(["what is a student?"])
"""
# In KiB. The child reads its own peak, because the parent's figure includes memory from the fork.
PEAK = """
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0], flush=True)
"""


def main() -> None:
    """Print speeds, ratios beside their targets, and the cost of a start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="student folder with exported files")
    parser.add_argument("--texts", required=True, metavar="FOLDER", help="queries and documents")
    parser.add_argument("--repeats", type=int, default=25, help="number of batches of each size")
    options = parser.parse_args()
    folder = find_model(options.model)
    graphs = exported_files(folder)
    student = load_model(str(folder)).to("cpu")
    with TemporaryDirectory() as temporary:
        teacher = load_model(str(save_random_weights(Path(temporary) / "model", ARCTIC.architecture))).to("cpu")
    teacher.prompts = dict(student.prompts)
    ours = Candidate("student", student, TEACHER, graphs)
    texts = latency_texts(options.texts, "--texts")
    queries = {"query": texts["query"]}
    rows = measure_latency([Candidate(TEACHER, teacher, TEACHER), ours], queries, (1,), options.repeats)
    rows += measure_latency([ours], {"document": texts["document"]}, (16,), options.repeats)
    print(f"{processor_name(torch.device('cpu'))}, {torch.get_num_threads()} threads; texts per second")
    print(_speeds(rows))
    print(_reached(rows))
    print(f"\nfrom the start of a process to the first vector (median of {STARTS}), and peak memory")
    starts = {TORCH: WITH_TORCH.format(folder=str(folder))}
    model = (str(folder), student.prompts, student.max_seq_length)
    starts |= {kind: onnx_snippet(*model, kind).partition("documents =")[0] for kind in graphs}
    print(aligned([_start(name, code) for name, code in starts.items()]))


def _speeds(rows: list[LatencyRow]) -> str:
    columns = list(dict.fromkeys((row.side, row.batch_size) for row in rows))
    lines = [["model", "backend", *(f"{side} by {size}" for side, size in columns)]]
    for name in dict.fromkeys((row.model, row.backend) for row in rows):
        found = {(row.side, row.batch_size): rate(row) for row in rows if (row.model, row.backend) == name}
        lines.append([*name, *(f"{found[column]:,.1f}" if column in found else "-" for column in columns)])
    return aligned(lines, left=2)


def _reached(rows: list[LatencyRow]) -> str:
    rates = {(row.model, row.backend, row.side, row.batch_size): rate(row) for row in rows}
    lines = []
    for (side, size, beside), wanted in TARGETS.items():
        keys = {form.name: ("student", form.name, side, size) for form in FORMS}
        forms = {name: rates[key] for name, key in keys.items() if key in rates}
        best = max(forms, key=forms.__getitem__)
        times = forms[best] / rates[beside, TORCH, side, size]
        lines.append([f"{side} by {size}, {best}: {times:.1f} times {beside} in {TORCH}", f"target {wanted:g}"])
    return aligned(lines)


def _start(name: str, code: str) -> list[str]:
    seconds, kibibytes = zip(*(_run(code + PEAK) for _ in range(STARTS)), strict=True)
    return [name, f"{statistics.median(seconds):.2f} s", f"{max(kibibytes) * 1024 / 1e6:.0f} MB"]


def _run(code: str) -> tuple[float, int]:
    """Run ``code`` in a new process; returns the seconds until its output, and its peak memory in KiB."""
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # stdout=PIPE
        line = process.stdout.readline()
        seconds = time.perf_counter() - started
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return seconds, int(line)


if __name__ == "__main__":
    main()
