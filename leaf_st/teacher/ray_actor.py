"""The process of a Ray worker, which loads the teacher once and makes shards. The module imports no torch by itself."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from leaf_st.errors import InputError
from leaf_st.recipe import TeacherSpec
from leaf_st.teacher.api.usage import Report
from leaf_st.teacher.maker import Block
from leaf_st.teacher.open import open_teacher
from leaf_st.teacher.protocol import Fingerprint, Service, Teacher


class Actor:
    """The process of a worker.

    Args:
        device: Device of local models; sentence-transformers' choice if None.
        processes: Number of workers, which share the limits of a service.
        folder: The folder in which the command runs, because paths of the teacher may be relative.
    """

    def __init__(self, device: str | None, processes: int, folder: Path) -> None:
        with suppress(OSError):  # a node without this folder may have the absolute paths
            os.chdir(folder)
        self._device, self._processes = device, processes
        self._teacher: Teacher | None = None

    def open(self, spec: TeacherSpec, fingerprint: Fingerprint) -> tuple[str, Sequence[Report]]:
        """Load the teacher; returns the name of the node, and the reports of a service.

        Raises:
            InputError: If the teacher cannot be loaded, or is not the teacher with ``fingerprint``.
        """
        self._teacher = open_teacher(spec, self._device)
        # The hashes of earlier versions contain files that another program may leave beside the model on one node.
        own = replace(self._teacher.fingerprint, first_revision=None, earlier_revision=None).to_dict()
        expected = replace(fingerprint, first_revision=None, earlier_revision=None).to_dict()
        for key, value in expected.items():
            if own.get(key) != value:
                raise InputError(
                    f"teacher {spec.name}: expected {key} {value}, as where the command runs, found {own.get(key)}: "
                    "give all nodes the same files of the model and the same versions of the packages"
                )
        if isinstance(self._teacher, Service):
            self._teacher.divide_limits(self._processes)
        return socket.gethostname(), self._reports()

    def make(self, block: Block) -> tuple[str, NDArray[np.uint8], Sequence[Report]]:
        """Make the shard of ``block``; returns name and content of its file, and the reports of a service.

        Raises:
            InputError: If a text cannot be embedded.
        """
        assert self._teacher is not None  # `open` was called
        if isinstance(self._teacher, Service):
            self._teacher.require_budget(block.rows)  # compares the probes from time to time; the budget is not here
        write = block.embed(self._teacher)
        with TemporaryDirectory(prefix="leaf-st-") as folder:
            path = write(Path(folder))
            return path.name, np.fromfile(path, np.uint8), self._reports()

    def _reports(self) -> Sequence[Report]:
        return self._teacher.report() if isinstance(self._teacher, Service) else ()
