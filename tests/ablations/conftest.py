import random
import runpy
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FOLDER = Path(__file__).parents[2] / "recipes" / "ablations"


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(1, 6))) for _ in range(100)]
    rows = list(dict.fromkeys(" ".join(rng.choices(words, k=rng.randint(1, 8))) for _ in range(256)))
    sources = [rng.choice(["web", "arxiv", "wordnet_glosses"]) for _ in rows]
    kinds = ["query" if source == "web" else "document" for source in sources]
    path = tmp_path_factory.mktemp("texts") / "texts.parquet"
    pq.write_table(pa.table({"text": rows, "kind": kinds, "source": sources}), path)
    return path


@pytest.fixture(scope="session")
def beir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "letters"
    folder.mkdir()
    names = list("abcdefghijklm")
    columns = {
        "corpus": {"_id": names, "title": [""] * len(names), "text": [f"{name} {name}{name} cab" for name in names]},
        "queries": {"_id": names, "text": names},
        "qrels": {"query-id": names, "corpus-id": names, "score": [1] * len(names)},
    }
    for name, table in columns.items():
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a script as `python recipes/ablations/NAME.py ARGUMENTS`; returns what it printed."""
    monkeypatch.syspath_prepend(FOLDER)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run
