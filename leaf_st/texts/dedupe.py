"""Telling first occurrences from repetitions, in memory that does not grow with the texts.

A set of 16-byte digests takes about 100 bytes a text in Python, which is gigabytes for the paper's corpora.
SQLite keeps the digests in a private file on disk and a fixed number of its pages in memory. The alternative,
a Bloom filter, would need no disk but would drop texts that were never seen.
"""

import errno
import sqlite3
import tempfile
from hashlib import blake2b
from types import TracebackType
from typing import Self

from leaf_st.texts.text import Text

_DIGEST_BYTES = 16  # two of 10^9 texts share a digest with a chance of about 10^-21
_CACHE_KIB = 64 * 1024


class Deduplicator:
    """Remembers the texts it was shown; a context manager, since it holds a file while it lives.

    Two texts are one when kind and text are equal: the kind chooses the prompt, and a text is embedded once
    for each prompt. The file has no name on disk, so a process that is killed leaves nothing behind.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        # One transaction that is never committed, since nobody else reads this file and nothing survives the
        # process. Committing every row would make it three times slower.
        self._database.executescript(
            f"""
            PRAGMA journal_mode = OFF;
            PRAGMA cache_size = -{_CACHE_KIB};
            CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID;
            BEGIN;
            """
        )

    def is_new(self, text: Text) -> bool:
        """Return whether ``text`` was never shown before, and remember it.

        Raises:
            OSError: If the folder of temporary files is full.
        """
        key = blake2b(f"{text.kind}\0{text.text}".encode(), digest_size=_DIGEST_BYTES).digest()
        try:
            return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount == 1
        except sqlite3.OperationalError as error:
            raise OSError(errno.ENOSPC, f"texts cannot be compared: {error}", tempfile.gettempdir()) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
