import gc
import os
import tempfile
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from leaf_st.evaluation.kept import KeptVectors


def test_vectors_come_back_by_text_in_any_order():
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    kept = KeptVectors()
    kept.add(["a", "b", "c"], vectors[:3])
    np.testing.assert_array_equal(kept.vectors(["c", "a", "c"]), vectors[[2, 0, 2]])
    kept.add(["d", "e"], vectors[3:])
    np.testing.assert_array_equal(kept.vectors(["e", "b"]), vectors[[4, 1]])
    assert "e" in kept
    assert "f" not in kept


def test_memory_does_not_hold_the_vectors():
    block, kept = np.ones((1000, 768), np.float32), KeptVectors()
    tracemalloc.start()
    for number in range(30):
        kept.add([f"{number} {row}" for row in range(1000)], block)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 30_000 * 768 * 4 / 10  # 92 MB of vectors


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device without room")
def test_a_full_disk_names_the_folder_of_temporary_files(monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "wb", 0))
    with pytest.raises(OSError, match=rf"No space left on device: '{tempfile.gettempdir()}'"):
        KeptVectors().add(["a"], np.ones((1, 2), np.float32))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux lists the open files of a process")
def test_the_file_ends_with_the_object():
    before = len(os.listdir("/proc/self/fd"))
    kept = KeptVectors()
    kept.add(["a"], np.ones((1, 2), np.float32))
    found = kept.vectors(["a"])
    del kept
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert found.tolist() == [[1, 1]]
