"""Distil from vectors in a real database: fill Postgres with a teacher's vectors, export them by COPY, and train.

Command:  python recipes/benchmarks/from_pgvector.py --postgres URI --folder FOLDER [--texts 2000] [--steps 200]

URI names a database with the extension pgvector, such as postgresql://postgres:secret@localhost/postgres of
``docker run -e POSTGRES_PASSWORD=secret -p 5432:5432 pgvector/pgvector:pg16``, or ``get_server(FOLDER).get_uri()`` of
the PyPI package pgserver. The script needs ``psql`` on the PATH and replaces the table leaf_st_documents. It embeds
documentation strings with all-MiniLM-L6-v2, compares the exported vectors with the teacher's, and trains a student of
three layers that never sees the teacher.

Result:   Postgres 16.2 with pgvector 0.6.2, 2,000 texts, two minutes in all: the exported vectors equal the teacher's
          bit for bit; after 200 steps the student has a mean L2 of 0.605 to the vectors of 200 held-out texts.
"""

import argparse
import json
import logging
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leaf_st.pipeline.run import Run
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.teacher.open import open_teacher
from leaf_st.texts.read import read_texts
from leaf_st.zoo import MINILM

TABLE = "leaf_st_documents"


def psql(uri: str, command: str, content: str | None = None) -> str:
    """Run an SQL command with ``content`` as its standard input, and return its output."""
    arguments = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", uri, f"--command={command}"]
    return subprocess.run(arguments, input=content, text=True, check=True, stdout=subprocess.PIPE).stdout


def fill(uri: str, texts: list[str], vectors: NDArray[np.float32]) -> None:
    """Write texts and vectors to the database."""
    psql(uri, "CREATE EXTENSION IF NOT EXISTS vector")
    psql(uri, f"DROP TABLE IF EXISTS {TABLE}")
    psql(uri, f"CREATE TABLE {TABLE} (id serial, body text, embedding vector({vectors.shape[1]}))")
    rows = (f"{_quoted(text)},{_quoted(json.dumps(row.tolist()))}\n" for text, row in zip(texts, vectors, strict=True))
    psql(uri, f"COPY {TABLE} (body, embedding) FROM STDIN WITH (FORMAT csv)", "".join(rows))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def main() -> None:
    """Fill the table, export it, and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", metavar="URI", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    texts = [row.text for row in read_texts(TextsSpec(limit=options.texts), Counter())]
    vectors = open_teacher(TeacherSpec(MINILM)).encode_document(texts)
    fill(options.postgres, texts, vectors)
    options.folder.mkdir(parents=True, exist_ok=True)
    export = options.folder / "documents.csv"
    query = f"SELECT body AS text, embedding FROM {TABLE} ORDER BY id"
    export.write_text(psql(options.postgres, f"COPY ({query}) TO STDOUT WITH (FORMAT csv, HEADER)"), encoding="utf-8")
    given = TeacherSpec(MINILM, vector_column="embedding", table=TextsSpec(str(export)))
    difference = np.abs(open_teacher(given).encode_document(texts) - vectors).max()
    print(f"{len(texts):,} texts, {export.stat().st_size / 1e6:.1f} MB of csv, largest difference {difference:.1e}")
    recipe = Recipe(
        name="from-pgvector",
        texts=TextsSpec(str(export)),
        teacher=TeacherSpec(MINILM, vector_column="embedding"),
        student=StudentSpec(backbone=MINILM, layers=(0, 2, 4)),
        training=TrainingSpec(held_out_rows=256, arguments={"max_steps": options.steps}),
    )
    run = Run(recipe, options.folder / "run")
    run.embed()
    run.train()
    alignment = run.measure_alignment()
    print(f"mean L2 {alignment.l2:.4f} to the database's vectors of {alignment.rows} held-out texts")


if __name__ == "__main__":
    main()
