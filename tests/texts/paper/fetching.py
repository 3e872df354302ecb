"""Fetching of sources by a process of its own, which can be killed."""

import os
import signal
from pathlib import Path

import pytest
from hub import connect
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.models.tokens import copy_tokenizer
from leaf_st.recipe import PAPER, TextsSpec
from leaf_st.texts.cut import Cutter
from leaf_st.texts.paper import fetch, stream
from leaf_st.texts.paper.sources import SOURCES


def fetch_each(url, folder, model, names, part_rows=None, kill_after=None):
    """Fetch ``names`` from the hub at ``url``, those joined by "+" together, and print the error of each.

    Args:
        url: Address of the hub.
        folder: Folder of the texts.
        model: Folder of the student.
        names: Names of sources.
        part_rows: Texts of a part.
        kill_after: Number of parts after which the process kills itself.
    """
    connect(pytest.MonkeyPatch(), url, Path(f"{folder}-home"))
    if part_rows:
        fetch._PART_ROWS = part_rows
        stream.ROWS = 7
    if kill_after:
        _kill_after(kill_after)
    student = SentenceTransformer(str(model), device="cpu")
    student.max_seq_length = 64
    cutter = Cutter(copy_tokenizer(student), 64)
    for chosen in names:
        others = tuple(other for other in SOURCES if other not in chosen.split("+"))
        try:
            fetch.fetch(TextsSpec(source=PAPER, leave_out=others), Path(folder), cutter)
        except InputError as error:
            print("InputError", error)


def _kill_after(parts):
    write_part = fetch._write_part

    def write_and_die(folder, texts, source, progress):
        write_part(folder, texts, source, progress)
        if progress.parts == parts:
            os.kill(os.getpid(), signal.SIGKILL)

    fetch._write_part = write_and_die
