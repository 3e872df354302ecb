"""Shards that are elsewhere, such as in object storage, and are fetched into the folder of a store when they are read.

The folder contains the header, the manifest and ``source.json`` with the address and the size that the fetched shards
may have together. The least recently read shards are removed first. Addresses are those of fsspec: ``s3://``,
``gs://``, ``hf://datasets/OWNER/NAME``, ``https://`` and others.
"""

import errno
import os
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Annotated, Any
from urllib.parse import urlsplit

import fsspec
from annotated_types import Ge
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from leaf_st.errors import InputError
from leaf_st.sealed import read_sealed, write_sealed
from leaf_st.teacher.shard import Shard, find_shards, is_intact, open_shard

# Errors of the local disk; a back end may raise others for its own reasons.
_LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
SOURCE = "source.json"


class Source(TypedDict):
    """Where the shards are.

    Attributes:
        url: Address of the folder.
        most_bytes: Size of the fetched shards together. The shard that is read may exceed the size.
    """

    url: str
    most_bytes: Annotated[int, Ge(0)]


class RemoteFolder:
    """A folder at an address of fsspec.

    Args:
        url: The address.

    Raises:
        InputError: If fsspec does not know the address, needs a package that is missing or cannot connect, or the
            address contains a password, which would be written to files and messages.
    """

    def __init__(self, url: str) -> None:
        if urlsplit(url).password:
            raise InputError("URL: expected an address without password, found one: set the variables of your storage")
        self.url = url.rstrip("/")
        self._process = 0
        self._system: Any = None
        self._root = ""
        self._connect()

    def get(self, name: str, folder: Path) -> None:
        """Copy the file ``name`` to ``folder``, completely or not at all.

        Raises:
            InputError: If the file is missing or the address cannot be reached.
        """
        temporary = folder / f".{name}.{secrets.token_hex(4)}.tmp"
        try:
            self._connect().get_file(f"{self._root}/{name}", str(temporary))
            temporary.replace(folder / name)
        except FileNotFoundError as error:
            raise InputError(f"{self.url}: expected {name}, found no such file: correct the address") from error
        except Exception as error:  # each file system has errors of its own
            if isinstance(error, OSError) and error.errno in _LOCAL:
                raise OSError(error.errno, error.strerror, str(temporary)) from error
            raise InputError(f"{self.url}/{name} cannot be read ({_first_line(error)}): try again later") from error
        finally:
            temporary.unlink(missing_ok=True)

    def put(self, path: Path, name: str) -> bool:
        """Copy the file ``path`` into the folder, unless the same file is there; return whether it was copied.

        Args:
            path: The file.
            name: Path of the copy in the folder.

        Raises:
            InputError: If the address cannot be written.
        """
        with self._used(name, "written") as (system, target):
            if system.exists(target) and _is_same(system, target, path):
                return False
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.put_file(str(path), target)
        return True

    def has(self, name: str) -> bool:
        """Return whether the folder has a file ``name``.

        Raises:
            InputError: If the address cannot be read.
        """
        with self._used(name, "read") as (system, target):
            return bool(system.exists(target))

    def remove(self, name: str) -> None:
        """Remove the file ``name`` from the folder, if there is one.

        Raises:
            InputError: If the address cannot be written.
        """
        with self._used(name, "written") as (system, target):
            if system.exists(target):
                system.rm(target)

    @contextmanager
    def _used(self, name: str, how: str) -> Iterator[tuple[Any, str]]:
        """Yield the file system and the path of the file ``name`` in it, which is "read" or "written"."""
        try:
            yield self._connect(), f"{self._root}/{name}"
        except Exception as error:  # each file system has errors of its own
            raise InputError(
                f"{self.url}/{name} cannot be {how} ({_first_line(error)}): correct the address, or run the same "
                "command again to resume"
            ) from error

    def _connect(self) -> Any:  # noqa: ANN401  (fsspec has no types)
        """Return the file system, made again in a forked process, whose connections must be its own."""
        if self._process != os.getpid():
            try:
                self._system, self._root = fsspec.core.url_to_fs(self.url, skip_instance_cache=True)
            except Exception as error:  # each file system has errors of its own; some connect at once
                raise InputError(
                    f"{self.url} cannot be opened ({_first_line(error)}): correct the address, install its package, or "
                    "try again later"
                ) from error
            self._process = os.getpid()
        return self._system


def _is_same(system: Any, target: str, path: Path) -> bool:  # noqa: ANN401
    """Return whether ``target`` has the content of ``path``; the name of a shard contains its checksum."""
    if system.size(target) != path.stat().st_size:
        return False
    return path.name.startswith("shard-") or bool(system.cat_file(target) == path.read_bytes())


class RemoteShards:
    """The shards of one store.

    Args:
        folder: The folder of the store, into which shards are fetched.
        source: Where the shards are.
    """

    def __init__(self, folder: Path, source: Source) -> None:
        self._folder, self._source = folder, source
        self._remote = RemoteFolder(source["url"])
        self._lock = Lock()
        there: list[tuple[int, str, int]] = []
        for path in find_shards(folder).values():
            with suppress(FileNotFoundError):  # another process may remove a shard
                status = path.stat()
                there.append((status.st_mtime_ns, path.name, status.st_size))
        self._sizes: OrderedDict[str, int] = OrderedDict((name, size) for _, name, size in sorted(there))

    def open(self, name: str) -> Shard:
        """Map the shard ``name``, which is fetched if it is missing.

        Raises:
            InputError: If the shard cannot be fetched, or has other content than its name says.
        """
        path = self._folder / name
        while True:  # another thread or process may remove the file before this one maps it
            if not path.is_file():
                self._fetch(path)
            with self._lock:
                try:
                    size, shard = path.stat().st_size, open_shard(path)
                except FileNotFoundError:
                    continue
                except InputError:
                    if path.is_file():  # a damaged one
                        raise
                    continue
                self._remove_least_recent(path.name, size)
                return shard

    def _fetch(self, path: Path) -> None:
        self._remote.get(path.name, self._folder)
        with suppress(FileNotFoundError):  # `open` fetches the file again
            if not is_intact(path):
                path.unlink()
                raise InputError(f"{self._remote.url}/{path.name} is damaged: publish the store again")

    def _remove_least_recent(self, name: str, size: int) -> None:
        """Remove the least recently read shards while there are too many bytes; ``name`` was read last."""
        self._sizes[name] = size
        self._sizes.move_to_end(name)
        total = sum(self._sizes.values())
        while len(self._sizes) > 1 and total > self._source["most_bytes"]:
            oldest, freed = self._sizes.popitem(last=False)
            (self._folder / oldest).unlink(missing_ok=True)
            total -= freed


def remote_shards(folder: Path) -> RemoteShards | None:
    """Return the shards of the store at ``folder`` that are elsewhere; None if the folder contains all of them.

    Raises:
        InputError: If ``source.json`` is damaged.
    """
    path = folder / SOURCE
    if not path.is_file():
        return None
    try:
        return RemoteShards(folder, TypeAdapter(Source).validate_python(read_sealed(path)))
    except InputError:  # a ValueError too
        raise
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(f"{path} is damaged ({error!r}): pull the store again") from error


def write_source(folder: Path, source: Source) -> None:
    """Write ``source.json`` of the store at ``folder``."""
    values: Mapping[str, Any] = source
    write_sealed(folder / SOURCE, values)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
