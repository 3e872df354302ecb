"""Items in blocks, and read ahead."""

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")


def blocks(items: Iterable[_Item], size: int) -> Generator[list[_Item]]:
    """Yield lists of ``size`` consecutive items; the last list may be shorter."""
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block


def read_ahead(items: Iterator[_Item]) -> Generator[_Item]:
    """Yield ``items``; a thread reads the next item in the meantime."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = reader.submit(next, items, None)
            yield item
