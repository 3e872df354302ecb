"""Infinity's server, which adds no prompts. Arguments: FOLDER TEXTS.json VECTORS.json."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError

folder, texts, vectors = sys.argv[1:]
read = json.loads(Path(texts).read_text(encoding="utf-8"))
prompts = json.loads((Path(folder) / "config_sentence_transformers.json").read_text(encoding="utf-8"))["prompts"]

with socket.create_server(("127.0.0.1", 0)) as free:
    port = str(free.getsockname()[1])
program = Path(sys.executable).with_name("infinity_emb")
options = ["--host", "127.0.0.1", "--port", port, "--engine", "torch", "--device", "cpu", "--dtype", "float32"]
options += ["--no-trust-remote-code", "--no-model-warmup"]
command = [sys.executable, program, "v2", "--model-id", folder, "--served-model-name", "student", *options]
variables = {"INFINITY_ANONYMOUS_USAGE_STATS": "0"}
server = subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def encode(kind: str) -> list[list[float]]:
    """Return the vectors of the texts of a kind, each after its prompt."""
    rows = []
    for start in range(0, len(read[kind]), 16):
        batch = [prompts[kind] + text for text in read[kind][start : start + 16]]
        body = json.dumps({"model": "student", "input": batch}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/embeddings", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            rows += [row["embedding"] for row in json.load(answer)["data"]]
    return rows


def wait() -> None:
    """Wait until the server answers."""
    for _ in range(600):
        if server.poll() is not None:
            sys.exit(server.stderr.read().decode().strip().splitlines()[-1])
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except URLError:
            time.sleep(0.5)
    sys.exit("the server did not start within 5 minutes")


try:
    wait()
    versions = {name: version(name) for name in ("infinity-emb", "sentence-transformers", "transformers")}
    written = {"versions": versions, "query": encode("query"), "document": encode("document")}
finally:
    server.terminate()
    server.communicate()
Path(vectors).write_text(json.dumps(written), encoding="utf-8")
