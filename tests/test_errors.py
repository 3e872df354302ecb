import errno
import os
import pickle
import subprocess
import sys

import pytest
from tqdm import tqdm

from leaf_st.errors import FieldError, InputError, ModelError, UnreachableError, exit_on_error
from leaf_st.teacher.protocol import NoVectorError


def _line(capsys, error):
    with pytest.raises(SystemExit) as stopped, exit_on_error("leaf-st", "run it again"):
        raise error
    return stopped.value.code, capsys.readouterr().err


def test_input_that_cannot_be_used_is_one_line(capsys):
    code, text = _line(capsys, InputError("expected one,\n  found two"))
    assert (code, text) == (2, "leaf-st: expected one, found two\n")


def test_ctrl_c_names_what_can_be_resumed(capsys):
    assert _line(capsys, KeyboardInterrupt()) == (130, "\nstopped; run it again\n")


def test_a_full_disk_is_one_line(capsys):
    code, text = _line(capsys, OSError(errno.ENOSPC, "No space left on device", "/out/file"))
    assert code == 2
    assert text.startswith("leaf-st: No space left on device: /out/file; free some space")


@pytest.mark.parametrize("kind", [errno.EISDIR, errno.ELOOP])
def test_a_folder_or_loop_in_place_of_a_file_is_one_line(kind, capsys):
    code, text = _line(capsys, OSError(kind, os.strerror(kind), "run/.recipe.json.tmp", None, "run/recipe.json"))
    assert code == 2
    assert text.startswith(f"leaf-st: {os.strerror(kind)}: run/recipe.json; ")


@pytest.mark.parametrize("kind", [errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_mount_that_fails_is_one_line_and_a_failed_connection_is_not(kind, capsys):
    code, text = _line(capsys, OSError(kind, os.strerror(kind), "/drive/recipe.json"))
    assert code == 2
    assert text == (
        f"leaf-st: {os.strerror(kind)}: /drive/recipe.json; this file system fails or lacks a function: connect it "
        "again or choose a local folder, then run the same command again\n"
    )
    with pytest.raises(OSError, match=os.strerror(kind)), exit_on_error("leaf-st", ""):
        raise OSError(kind, os.strerror(kind))  # of a socket, which has no name


def test_control_characters_of_the_input_are_escaped(capsys):
    assert (
        _line(capsys, InputError("found 'a\x1b[31m\0\u202e': é"))[1] == "leaf-st: found 'a\\x1b[31m\\x00\\u202e': é\n"
    )


def test_a_value_of_many_characters_keeps_the_line_short(capsys):
    text = _line(capsys, InputError(f"expected a name, found {'x' * 1_000_000}: correct the name"))[1]
    assert len(text) < 2100
    assert text.startswith("leaf-st: expected a name, found xxx")
    assert text.endswith("xxx: correct the name\n")


def test_a_file_without_permission_to_read_has_its_own_remedy(tmp_path, capsys, monkeypatch):
    path = tmp_path / "texts.jsonl"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    _, text = _line(capsys, PermissionError(errno.EACCES, "Permission denied", str(path)))
    assert (
        text
        == f"leaf-st: Permission denied: {path}; this file cannot be read: change its permissions or use another file\n"
    )


def test_a_shard_without_permission_to_read_is_named(tmp_path, capsys, monkeypatch):
    path = tmp_path / "shard.arrow"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    message = f"Failed to open local file '{path}'. Detail: [errno 13] Permission denied"
    _, text = _line(capsys, PermissionError(errno.EACCES, message))  # as pyarrow raises it
    assert (
        text
        == f"leaf-st: Permission denied: {path}; this file cannot be read: change its permissions or use another file\n"
    )


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), exit_on_error("leaf-st", ""):
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), exit_on_error("leaf-st", ""):
        raise FileNotFoundError(errno.ENOENT, "No such file")


def test_a_name_outside_the_encoding_of_the_locale_is_one_line():
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    code = "import os, leaf_st.errors\nwith leaf_st.errors.exit_on_error('leaf-st', ''):\n    os.stat('caf\\xe9')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(b"leaf-st: expected names of files in ascii, the encoding of the locale, found 'caf")


def test_a_closed_pipe_ends_silently():
    code = "from leaf_st.errors import exit_on_error\nwith exit_on_error('leaf-st', ''):\n    print('x\\n' * 1_000_000)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 141


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_at_the_start_ends_no_command(closed):
    code = (
        "import sys\nfrom leaf_st.errors import InputError, exit_on_error\n"
        "with exit_on_error('leaf-st', ''):\n    print('x')\n    print('y', file=sys.stderr)\n    {}"
    )
    for end, expected in (("pass", 0), ("raise InputError('found b')", 2)):
        command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", code.format(end)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == expected
        assert done.stdout == ("x\n" if closed == "2>&-" else "")
        assert done.stderr == ("y\n" + "leaf-st: found b\n" * (expected == 2) if closed == ">&-" else "")


def test_the_line_is_not_continued_from_a_progress_bar(capsys):
    with tqdm(total=2, file=sys.stderr) as bar:
        bar.update()
        with pytest.raises(SystemExit), exit_on_error("leaf-st", "resume"):
            raise InputError("expected a, found b: use a")
    assert "\rleaf-st: expected a, found b: use a\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        InputError("expected one"),
        FieldError("texts", "limit", "expected one", "two"),
        ModelError("me/model", "expected one"),
        UnreachableError("me/model", "expected one"),
        NoVectorError("no vector of a text", "add the text"),
    ],
)
def test_errors_pass_between_processes(error):
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


def test_a_name_that_is_too_long_is_reported(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended, exit_on_error("program", "hint"):
        (tmp_path / ("x" * 300)).mkdir()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("program: File name too long: ")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path, capsys):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(SystemExit) as ended, exit_on_error("program", "hint"):
        (tmp_path / "report").mkdir(exist_ok=True)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(
        f"program: File exists: {tmp_path / 'report'}; expected a folder or nothing"
    )
