"""Fetch sources in a process of its own, as the hub's client reads its address when it is imported.

Command:  python fetching.py FOLDER TOKENIZER NAMES [ROWS_PER_PART] [KILL_AFTER_PARTS]

Prints the error of each source in turn, or else the table.
"""

import os
import signal
import sys
from pathlib import Path

from leaf_st.errors import InputError
from leaf_st.recipe import PAPER, TextsSpec
from leaf_st.texts import fetch
from leaf_st.texts.sources import SOURCES

folder, tokenizer, names, *more = sys.argv[1:]
if more:
    fetch._PART_ROWS = int(more[0])
if more[1:]:
    write_part = fetch._write_part

    def write_and_die(folder, texts, source, progress):
        write_part(folder, texts, source, progress)
        if progress.parts == int(more[1]):
            os.kill(os.getpid(), signal.SIGKILL)

    fetch._write_part = write_and_die

for name in names.split(","):
    others = tuple(other for other in SOURCES if other != name)
    try:
        spec = TextsSpec(source=PAPER, leave_out=others, tokenizer=tokenizer, max_tokens=64)
        fetch.fetch(spec, Path(folder))
    except InputError as error:
        print("InputError", error)
