"""One process at a time in a folder."""

import errno
import fcntl
import os
import signal

import forked
import pytest

from leaf_st.errors import InputError
from leaf_st.lock import only_process, only_process_of_part


def _hold(folder, ready):
    with only_process(folder):
        ready.send(True)
        signal.pause()


def test_a_second_process_is_refused_until_the_first_ends_or_is_killed(tmp_path):
    ours, theirs = forked.CONTEXT.Pipe()
    process = forked.CONTEXT.Process(target=_hold, args=(tmp_path, theirs), daemon=True)
    process.start()
    ours.recv()
    with pytest.raises(InputError, match="expected no other process, found one that writes"), only_process(tmp_path):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    for _ in range(2):
        with only_process(tmp_path):
            pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist_has_no_other_process(tmp_path):
    with only_process(tmp_path / "new"):
        assert not (tmp_path / "new").exists()


def test_only_a_file_system_without_locks_lets_every_process_enter(tmp_path, monkeypatch):
    numbers = [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.EIO, errno.EINTR]
    errors = iter([OSError(number, os.strerror(number)) for number in numbers])

    def fail(*_):
        raise next(errors)

    monkeypatch.setattr(fcntl, "flock", fail)
    for _ in numbers[:3]:
        with only_process(tmp_path):
            pass
    for number in numbers[3:]:
        with pytest.raises(OSError, match=os.strerror(number)), only_process(tmp_path):
            pytest.fail("entered")


def test_a_lock_that_another_user_made_lets_every_process_enter(tmp_path, monkeypatch):
    numbers = [errno.EACCES, errno.EROFS, errno.EOPNOTSUPP, errno.ENOSPC]
    errors = iter([OSError(number, os.strerror(number)) for number in numbers])

    def fail(*_):
        raise next(errors)

    monkeypatch.setattr(os, "open", fail)
    for _ in numbers[:3]:
        with only_process_of_part(tmp_path / "lock", tmp_path, 0, 1):
            pass
    part = only_process_of_part(tmp_path / "lock", tmp_path, 0, 1)
    with pytest.raises(OSError, match=os.strerror(numbers[3])), part:
        pytest.fail("entered")


def _hold_part(folder, index, count, ready):
    with only_process_of_part(folder / "lock", folder, index, count):
        ready.send(True)
        signal.pause()


def test_a_part_has_one_process_and_the_whole_excludes_all_parts(tmp_path):
    def enter(index, count):
        with only_process_of_part(tmp_path / "lock", tmp_path, index, count):
            pass

    for held, refused, free in (((1, 4), [(1, 4), (0, 1)], [(0, 4), (2, 4)]), ((0, 1), [(0, 1), (3, 4)], [])):
        ours, theirs = forked.CONTEXT.Pipe()
        process = forked.CONTEXT.Process(target=_hold_part, args=(tmp_path, *held, theirs), daemon=True)
        process.start()
        ours.recv()
        for index, count in refused:
            part = f", partition {index}/{count}" if count > 1 else ""
            with pytest.raises(InputError, match=f"^{tmp_path}{part}: expected no other process, found one that"):
                enter(index, count)
        for part in free:
            enter(*part)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        for part in refused:
            enter(*part)
