import logging
import os
import subprocess
import sys

import pytest

from leaf_st.cli.console import messages_shown
from leaf_st.cli.main import main
from leaf_st.errors import exit_on_error

MESSAGES = logging.getLogger("leaf_st.texts")


def _report():
    with messages_shown("leaf-st"):
        MESSAGES.debug("detail")
        MESSAGES.info("10 texts")
        MESSAGES.warning("a shard is damaged")


def test_messages_are_plain_lines_and_warnings_go_to_stderr(capsys):
    _report()
    written = capsys.readouterr()
    assert written.out == "10 texts\n"
    assert written.err == "leaf-st: a shard is damaged\n"


def test_the_other_processes_show_warnings_only(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    _report()
    assert capsys.readouterr() == ("", "leaf-st: a shard is damaged\n")


def test_loggers_are_left_as_they_were(capsys):
    level, handlers = logging.getLogger("leaf_st").level, list(logging.getLogger("leaf_st").handlers)
    _report()
    assert (logging.getLogger("leaf_st").level, logging.getLogger("leaf_st").handlers) == (level, handlers)


def _script(code, **environment):
    start = f"from leaf_st.errors import exit_on_error\n{code}"
    return subprocess.Popen(
        [sys.executable, "-c", start],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_ends_silently(unbuffered):
    code = "import time\nwith exit_on_error('leaf-st', ''):\n for n in range(10): print(n); time.sleep(0.05)"
    process = _script(code, PYTHONUNBUFFERED=unbuffered)
    process.stdout.close()
    assert process.wait(timeout=60) != 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_characters_that_the_console_lacks_are_replaced():
    code = (
        "import leaf_st.cli.main as cli, argparse\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.set_defaults(func=lambda _: print('caf\\u00e9 \\U0001f331'))\n"
        "cli.build_parser = lambda: parser\n"
        "cli.main([])"
    )
    out, err = _script(code, PYTHONIOENCODING="cp1252").communicate(timeout=60)
    assert err == b""
    assert out.decode("cp1252").strip() == "caf\u00e9 ?"


def test_a_file_without_read_permission_has_its_own_remedy(tmp_path, capsys, monkeypatch):
    path = tmp_path / "texts.txt"
    path.touch()
    monkeypatch.setattr(os, "access", lambda name, mode: False)  # root may read all files
    with pytest.raises(SystemExit, match="2"), exit_on_error("leaf-st", ""):
        raise PermissionError(13, "Permission denied", str(path))
    assert capsys.readouterr().err == (
        f"leaf-st: Permission denied: {path}; this file cannot be read: change its permissions or use another file\n"
    )


def test_a_current_folder_that_was_deleted_is_named(tmp_path):
    code = f"import os\nfrom leaf_st.cli.main import main\nos.chdir({str(tmp_path)!r})\nos.rmdir({str(tmp_path)!r})\n"
    out, err = _script(code + "main(['search', '--help'])").communicate(timeout=60)
    assert (out, err) == (b"", b"leaf-st: the current folder does not exist any more: change to another folder\n")


@pytest.mark.parametrize(("home", "has_cache"), [(os.devnull, True), ("", False)])
def test_a_home_that_cannot_hold_files_is_not_used_for_mteb(tmp_path, capsys, monkeypatch, home, has_cache):
    monkeypatch.setattr(os, "environ", {**os.environ, "HOME": home or str(tmp_path)})
    os.environ.pop("MTEB_CACHE", None)
    main(["models"])
    assert ("MTEB_CACHE" in os.environ) == has_cache
    assert not list(tmp_path.iterdir())


def test_an_interpreter_without_docstrings_is_named():
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "leaf_st", "models"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        "leaf-st: PYTHONOPTIMIZE or python -OO: expected at most 1, because transformers reads"
    )
