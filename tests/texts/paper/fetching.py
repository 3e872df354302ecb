"""Fetch sources in a process of its own, as the hub's client reads its address when it is imported.

Command:  python fetching.py FOLDER STUDENT NAMES [ROWS_PER_PART] [KILL_AFTER_PARTS]

NAMES are fetched one after the other, those joined by "+" together. Prints the error of each.
"""

import os
import signal
import sys
from pathlib import Path

from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.models.tokens import copy_tokenizer
from leaf_st.recipe import PAPER, TextsSpec
from leaf_st.texts.paper import fetch, stream
from leaf_st.texts.paper.cut import Cutter
from leaf_st.texts.paper.sources import SOURCES

folder, model, names, *more = sys.argv[1:]
if more:
    fetch._PART_ROWS = int(more[0])
    stream.ROWS = 7
if more[1:]:
    write_part = fetch._write_part

    def write_and_die(folder, texts, source, progress):
        write_part(folder, texts, source, progress)
        if progress.parts == int(more[1]):
            os.kill(os.getpid(), signal.SIGKILL)

    fetch._write_part = write_and_die

student = SentenceTransformer(model, device="cpu")
student.max_seq_length = 64
cutter = Cutter(copy_tokenizer(student), 64)
for chosen in names.split(","):
    others = tuple(other for other in SOURCES if other not in chosen.split("+"))
    try:
        spec = TextsSpec(source=PAPER, leave_out=others)
        fetch.fetch(spec, Path(folder), cutter)
    except InputError as error:
        print("InputError", error)
