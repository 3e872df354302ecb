"""Find duplicate texts, in memory that does not grow with the number of texts.

A Python set of 16-byte digests needs about 100 bytes per text, which is gigabytes for the paper's corpora.
SQLite keeps the digests in a private file on disk and a fixed number of pages in memory. A Bloom filter would need no
disk, but would drop texts that never occurred before.
"""

import errno
import os
import sqlite3
import tempfile
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

_DIGEST_BYTES = 16  # the probability that two of 10^9 texts share a digest is about 10^-21
_CACHE_KIB = 64 * 1024
# One statement for all digests of a block: sqlite3 releases Python's lock for each statement, and waits for the lock
# afterwards, which takes longer than an insertion while another thread writes a shard.
_INSERT = f"""
INSERT OR IGNORE INTO seen WITH RECURSIVE place(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM place WHERE i + 1 < ?3)
SELECT substr(?1, {_DIGEST_BYTES} * i + 1, {_DIGEST_BYTES}), ?2 + i FROM place
"""


class Deduplicator:
    """Remembers the texts it has seen; a context manager, because it keeps a file open.

    Two texts are equal if prompt and text are equal: the same text with the same prompt has one vector, and is
    embedded and trained once. The file has no name on disk, so a killed process leaves nothing behind.
    """

    def __init__(self) -> None:
        self._count = 0  # pairs so far
        self._database = _open_database()
        # One transaction that is never committed: no other process reads the file, and the file ends with the process.
        # A commit for each row would take three times as long. The file stays empty until the pages in memory are full.
        self._database.executescript(
            f"""
            PRAGMA journal_mode = OFF;
            PRAGMA synchronous = OFF;
            PRAGMA cache_size = -{_CACHE_KIB};
            BEGIN;
            CREATE TABLE seen (digest BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID;
            """
        )

    def is_new(self, prompt: str, text: str) -> bool:
        """Remember ``text`` with ``prompt``, and return whether this pair is new.

        Raises:
            OSError: If the folder of temporary files is full.
        """
        return self.are_new([(prompt, text)])[0]

    def are_new(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Remember n pairs of prompt and text, and return whether each is new.

        One call for many pairs takes half of the time of `is_new` for each.

        Raises:
            OSError: If the folder of temporary files is full.
        """
        if not pairs:
            return []
        digests = [blake2b(f"{prompt}\0{text}".encode(), digest_size=_DIGEST_BYTES).digest() for prompt, text in pairs]
        first, self._count = self._count, self._count + len(digests)
        try:
            inserted = self._database.execute(_INSERT, (b"".join(digests), first, len(digests))).rowcount
            if inserted == len(digests):
                return [True] * len(digests)
            return [self._number(digest) == number for number, digest in enumerate(digests, first)]
        except sqlite3.OperationalError as error:
            raise OSError(errno.ENOSPC, f"texts cannot be compared: {error}", tempfile.gettempdir()) from error

    def _number(self, digest: bytes) -> int:
        """Return the number of the pair that was inserted with ``digest``."""
        number: int = self._database.execute("SELECT number FROM seen WHERE digest = ?", (digest,)).fetchone()[0]
        return number

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()


def _open_database() -> sqlite3.Connection:
    """Return a database in a file without a name, in the folder that Python chooses for temporary files.

    SQLite would choose another folder: /var/tmp before /tmp, and without regard to TEMP and TMP.
    """
    if os.name != "posix":  # the name of an open file cannot be removed there
        return _connect("")
    with tempfile.NamedTemporaryFile() as file:
        return _connect(f"{Path(file.name).as_uri()}?nolock=1")  # some network file systems have no locks


def _connect(name: str) -> sqlite3.Connection:
    # One thread at a time uses the connection: often a thread that reads ahead, and at the end the main thread.
    return sqlite3.connect(name, isolation_level=None, check_same_thread=False, uri=True)
