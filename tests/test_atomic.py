import errno
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from leaf_st.atomic import is_temporary, read_json, replace_folder, write_json, write_whole
from leaf_st.errors import InputError


def _fail_after(content):
    def write(path):
        path.write_text(content)
        raise OSError("no room")

    return write


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(OSError, match="no room"):
        write_whole(path, _fail_after("half"))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_kill_leaves_is_known_as_temporary(tmp_path):
    seen = []
    write_whole(tmp_path / "file.arrow", lambda path: (seen.append(path), path.write_text("x")))
    assert is_temporary(seen[0])
    assert not is_temporary(tmp_path / "file.arrow")
    assert not is_temporary(tmp_path / "notes.tmp")
    assert all(is_temporary(tmp_path / name) for name in (".DS_Store", "Thumbs.db"))


def test_what_a_kill_leaves_is_removed_by_the_next_write(tmp_path):
    (tmp_path / ".file.0a1b2c3d.tmp").write_text("half")
    (tmp_path / ".file.json.0a1b2c3d.tmp").write_text("of another file")
    write_whole(tmp_path / "file", lambda path: path.write_text("whole"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".file.json.0a1b2c3d.tmp", "file"]


def test_known_leftovers_are_removed_without_a_listing(tmp_path, monkeypatch):
    leftover, other = (tmp_path / f".{name}.0a1b2c3d.tmp" for name in ("older", "file"))
    for path in (leftover, other):
        path.write_text("half")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.glob", None)
        write_whole(tmp_path / "file", lambda path: path.write_text("whole"), [leftover, tmp_path / "gone"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "file"]


def test_a_writer_whose_temporary_file_another_writer_removed(tmp_path):
    path = tmp_path / "file"

    def write(temporary):
        temporary.write_text("ours")
        write_whole(path, lambda other: other.write_text("theirs"))

    write_whole(path, write)
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):  # no other writer
        write_whole(tmp_path / "missing" / "file", lambda temporary: temporary.write_text("ours"))


def test_two_writers_at_once_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "file"

    def write(temporary):
        write_whole(path, lambda other: other.write_text("theirs"))
        temporary.write_text("ours")

    write_whole(path, write)
    assert path.read_text() == "ours"
    assert list(tmp_path.iterdir()) == [path]


def test_json_keeps_every_character(tmp_path):
    value = {"é": ["\u2028", 1.5, None]}
    write_json(tmp_path / "value.json", value)
    assert json.loads((tmp_path / "value.json").read_text(encoding="utf-8")) == value


def test_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "folder"
    for name in ("one", "two"):
        replace_folder(folder, lambda fresh, name=name: (fresh.mkdir(), (fresh / name).touch()))
        assert [path.name for path in folder.iterdir()] == [name]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_cannot_be_filled_leaves_the_one_before(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "before").touch()

    def fill(fresh):
        fresh.mkdir()
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        replace_folder(folder, fill)
    assert [path.name for path in folder.iterdir()] == ["before"]
    replace_folder(folder, lambda fresh: fresh.mkdir())
    assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
def test_a_folder_that_the_system_never_renames_is_named_and_stays(tmp_path, monkeypatch, number):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "before").touch()

    def refuse(path, _):  # as for a mount, which only an administrator can make
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(InputError, match=rf"^{folder}: expected a folder that can be replaced, found a mount or a "):
        replace_folder(folder, Path.mkdir)
    assert [path.name for path in folder.iterdir()] == ["before"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("content", [b"[" * 100_000, b"", b"\xff\xfe\xff", b"{1: 2}"])
def test_what_is_no_json_is_a_value_error(content, tmp_path):
    (tmp_path / "any.json").write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011  (the message is json's)
        read_json(tmp_path / "any.json")


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to("disk")
    for content in ("first", "second"):
        replace_folder(link, lambda folder, content=content: (folder.mkdir(), (folder / "a").write_text(content)))
        assert link.is_symlink()
        assert (tmp_path / "disk" / "a").read_text() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
def test_a_place_without_folders_is_named():
    with pytest.raises(InputError, match=r"/proc/x cannot be made .*: name another folder"):
        replace_folder(Path("/proc/x"), Path.mkdir)


@pytest.mark.skipif(os.name != "posix", reason="only POSIX syncs folders")
def test_a_file_is_written_where_folders_cannot_be_synced(tmp_path, monkeypatch):
    sync, numbers = os.fsync, [errno.EINVAL, errno.EIO]

    def fail(descriptor):  # as on a shared folder of a virtual machine
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(numbers[0], os.strerror(numbers[0]))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    write_json(tmp_path / "file.json", [1])
    assert read_json(tmp_path / "file.json") == [1]
    replace_folder(tmp_path / "folder", Path.mkdir)
    assert (tmp_path / "folder").is_dir()
    numbers.pop(0)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_json(tmp_path / "file.json", [2])


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has such permissions")
def test_a_folder_that_may_be_written_but_not_read(tmp_path):
    folder = tmp_path / "box"
    folder.mkdir()
    folder.chmod(0o333)
    try:
        write_json(folder / "file.json", [1])
        assert read_json(folder / "file.json") == [1]
    finally:
        folder.chmod(0o755)
