import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import forked
import pytest
import torch
from forked import CONTEXT

from leaf_st.cli.main import main
from leaf_st.export import export as exporting

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "plain_trainer")  # that one is a script
COMMANDS = ["demo", "run", "embed", "train", "evaluate", "measure", "export", "report", "search", "verify", "push"]
COMMANDS += ["card", "models", "pull"]
STEPS = 2


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [
        json.dumps({"text": f"text {number} of some", "kind": ["query", "document"][number % 2]})
        for number in range(90)
    ]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))


@pytest.fixture
def recipe(tmp_path, tiny_teacher_folder):
    """A recipe of tiny models that needs no ``--smoke``."""
    path = tmp_path / "recipe.py"
    path.write_text(f"""
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
recipe = Recipe(
    name="tiny",
    texts=TextsSpec(source="texts.jsonl"),
    teacher=TeacherSpec(model={str(tiny_teacher_folder)!r}),
    student=StudentSpec(layers=(0, 2)),
    training=TrainingSpec(held_out_rows=8, arguments={{
        "max_steps": {STEPS}, "save_steps": 2, "eval_steps": 2, "bf16": False, "use_cpu": True
    }}),
)
""")
    return path


def _run(*arguments):
    main([str(argument) for argument in arguments])


def _refused(capfd, *arguments):
    """Return the one line that a command ends with."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        _run(*arguments)
    written = capfd.readouterr()
    assert ended.value.code == 2
    assert written.err.startswith("leaf-st: ")
    assert written.err.count("\n") == 1
    return written.err


def _weights(folder):
    return {path.name: path.read_bytes() for path in (Path(folder) / "model").rglob("*.safetensors")}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_runs_small(path, tmp_path, capfd):
    command = ["run", path, "--smoke", "--set", "texts.source=texts.jsonl", "--output", "out"]
    _run(*command)
    made = {entry.name for entry in Path("out").iterdir()}
    assert {"recipe.json", "store", "checkpoints", "model", "results"} <= made
    assert (tmp_path / "out" / "store" / "manifest.json").is_file()
    assert (tmp_path / "out" / "results" / "training.json").is_file()
    assert "Loading weights" not in (noise := capfd.readouterr().err)
    assert "Writing model shards" not in noise
    assert "[transformers]" not in noise
    before = _weights("out")
    _run(*command)
    assert _weights("out") == before


def test_a_dry_run_says_what_it_takes_and_begins_nothing(recipe, capfd):
    _run("run", recipe, "--dry-run", "--output", "out")
    written = capfd.readouterr().out
    assert written.startswith("plan of tiny in out\n\nsource ")
    assert f"{STEPS} steps of 32 texts" in written
    assert not Path("out").exists()
    assert "none.txt: no such file" in _refused(capfd, "run", recipe, "--dry-run", "--set", "texts.source=none.txt")
    recipe.write_text(recipe.read_text().replace('name="tiny",', 'name="tiny", evaluate_on=["no_set"],'))
    _run("run", recipe, "--dry-run", "--output", "out")
    assert "evaluation set no_set does not exist: it is left out" in capfd.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        _run("run", recipe, "--dry-run", "--smoke")


def test_a_dry_run_of_a_trained_student_plans_no_training(recipe, capfd):
    for command in ("embed", "train"):
        _run(command, recipe, "--output", "out")
    capfd.readouterr()
    _run("run", recipe, "--dry-run", "--output", "out")
    said = "the student in out is trained: no training text is embedded, and nothing is trained\n"
    assert capfd.readouterr().out == said


def test_another_training_on_the_same_vectors_is_measured_like_the_first(recipe, beir, tmp_path, capfd):
    command = ["run", recipe, "--set", f"evaluate_on={beir}", "--output", "out"]
    _run(*command)
    refused = _refused(capfd, *command, "--set", "learning_rate=1e-3")
    assert "or move checkpoints, model and results of out to another folder to train again on the same v" in refused
    (tmp_path / "kept").mkdir()
    shards = {path: path.stat().st_mtime_ns for path in Path("out/store").glob("shard-*")}
    for name in ("checkpoints", "model", "results"):
        shutil.move(f"out/{name}", "kept")
    _run(*command, "--set", "learning_rate=1e-3")
    assert shards == {path: path.stat().st_mtime_ns for path in Path("out/store").glob("shard-*")}
    before, now = (json.loads(Path(folder, "results", "tasks.json").read_text()) for folder in ("kept", "out"))
    assert [row["model"] for row in now] == [row["model"] for row in before]
    assert {row["revision"] for row in now} != {row["revision"] for row in before}


def test_the_run_folder_has_the_recipe_s_name(recipe):
    _run("embed", recipe)
    assert Path("runs/tiny/store/manifest.json").is_file()
    _run("embed", recipe, "--smoke")
    assert Path("runs/tiny-smoke/store/manifest.json").is_file()


def test_stages_alone_make_what_can_be_measured_and_searched(recipe, tiny_teacher_folder, beir, capsys):
    _run("embed", recipe, "--partition", "1/2", "--output", "out")
    assert "other partitions are not embedded yet" in capsys.readouterr().out
    _run("embed", recipe, "--partition", "0/2", "--output", "out")
    assert "90 rows in out/store" in capsys.readouterr().out
    _run("train", recipe, "--output", "out")
    assert "the student is in out/model" in capsys.readouterr().out
    _run("evaluate", "out/model", "--teacher", tiny_teacher_folder, "--tasks", beir)
    written = capsys.readouterr().out
    assert "asymmetric retention" in written
    assert "saved in out/results/tasks.json" in written
    rows = json.loads(Path("out/results/tasks.json").read_text())
    assert {(row["mode"], row["model"]) for row in rows} == {
        ("teacher", f"local/{tiny_teacher_folder.name}"),
        ("standard", "local/tiny"),
        ("asymmetric", "local/tiny"),
    }
    _run("evaluate", "out", "--tasks", beir, "--modes", "teacher", "--output", "again")
    assert "saved in again/tasks.json" in capsys.readouterr().out
    (again,) = json.loads(Path("again/tasks.json").read_text())
    assert again["score"] == next(row["score"] for row in rows if row["mode"] == "teacher")
    _run("search", "text 7", "--model", "out/model", "--documents", "texts.jsonl")
    assert capsys.readouterr().out.startswith("texts.jsonl; left out: 45 of kind query\nstandard\n 1 ")


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_teacher_folder):
    return tiny_teacher_folder


def test_a_bad_recipe_is_one_line(recipe, capfd):
    assert "recipe none.py: no such file" in _refused(capfd, "run", "none.py")
    assert "--set depth: no such key" in _refused(capfd, "run", recipe, "--set", "depth=3")
    refused = _refused(capfd, "run", recipe, "--set", "held_out_rows=32")
    assert refused == "leaf-st: --set held_out_rows: no such key; did you mean training.held_out_rows?\n"
    Path("bad.py").write_text("from leaf_st import Recipe\n\nrecipe = Recipe(nam='a')\n")
    assert "leaf-st: recipe bad.py, line 3: nam: no such field, expected one of name," in _refused(
        capfd, "run", "bad.py"
    )


def test_a_repeated_export_of_a_hub_id_names_the_folder_of_the_first(capfd):
    Path("mdbr-leaf-ir").mkdir()
    Path("mdbr-leaf-ir/modules.json").touch()
    assert _refused(capfd, "export", "MongoDB/mdbr-leaf-ir") == (
        "leaf-st: mdbr-leaf-ir: expected no such folder, because MongoDB/mdbr-leaf-ir is pulled into it, found one: if "
        "the model is in it, run `leaf-st export mdbr-leaf-ir`; otherwise rename the folder\n"
    )


def test_an_export_is_refused_before_its_model_is_pulled(capfd, monkeypatch):
    refused = _refused(capfd, "export", "leaf-ir-asym")
    assert refused.startswith("leaf-st: export: expected one model, found student and teacher in one: export the ")
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    refused = _refused(capfd, "export", "leaf-ir")
    assert refused.startswith("leaf-st: ONNX graphs need onnx and onnxscript and onnxruntime: pip install")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "leaf-st run: the following arguments are required: RECIPE; run `leaf-st run --help`"),
        (["run", "r.py", "--typo"], "leaf-st run: unrecognized arguments: --typo; run `leaf-st run --help`"),
        (["run", "r.py", "--max-tokens=-5"], "leaf-st run: argument --max-tokens: expected an integer of at least 1"),
        (["verify", "f", "--model", ""], "leaf-st verify: argument --model: expected a value, found empty text;"),
        (["evaluate", "", "--tasks", "x"], "leaf-st evaluate: argument MODEL: expected a value, found empty text;"),
        (
            ["evaluate", "m", "--tasks", "x", "--output="],
            "leaf-st evaluate: argument --output: expected a value, found",
        ),
        (["search", "q", "--model", "m", "--teacher", ""], "leaf-st search: argument --teacher: expected a value, fou"),
        (["measure", "samples", "m", "--data", "a", ""], "leaf-st measure samples: argument --data: expected a value,"),
        (
            ["evaluate", "m", "--tasks", "x", "--tasks", "y"],
            "leaf-st evaluate: argument --tasks: expected once, found twice: name all values after one --tasks;",
        ),
        (["rnu"], "leaf-st: argument COMMAND: invalid choice: 'rnu' (choose from "),
        (["measure", "x"], "leaf-st measure: argument NAME: invalid choice: 'x' (choose from "),
        (
            ["run", "r.py", "--smoke", "--dry-run"],
            "leaf-st run: argument --dry-run: not allowed with argument --smoke;",
        ),
    ],
)
def test_a_usage_error_is_one_line_that_names_the_help(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    written = capsys.readouterr()
    assert ended.value.code == 2
    assert written.err.startswith(message)
    assert written.err.endswith("--help`\n")
    assert written.err.count("\n") == 1
    assert not written.out


@pytest.mark.parametrize(
    "command",
    [
        ["demo"],
        *([name, "recipe.py"] for name in ("run", "embed", "train")),
        ["evaluate", "model", "--tasks", "set"],
        *([*name, "model"] for name in (["export"], ["pull"], ["measure", "latency"], ["measure", "alignment"])),
    ],
)
def test_no_command_makes_a_local_folder_of_a_url(command, capfd):
    before = sorted(Path().iterdir())
    refused = _refused(capfd, *command, "--output", "s3://bucket/run")
    assert refused.startswith("leaf-st: output: expected a local path, found 's3://bucket/run': URLs and object")
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        (["evaluate", "model", "--tasks"], "tasks"),
        (["measure", "compression", "model", "--data"], "data"),
        (["measure", "agreement", "model", "--texts"], "texts"),
        (["export", "model", "--data"], "data"),
    ],
)
def test_a_set_whose_name_is_not_utf_8_is_refused_before_it_is_measured(command, argument, capfd):
    refused = _refused(capfd, *command, "set", "caf\udce9")
    assert refused.startswith(f"leaf-st: {argument}: expected ")
    assert r"UTF-8, found 'caf\udce9': rename" in refused
    refused = _refused(capfd, *command, "set", "caf\udcc3\udca9")  # UTF-8 under another locale
    assert "set PYTHONUTF8=1" in refused


def test_a_home_folder_that_the_shell_left_is_found(recipe, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HOME", str(tmp_path))
    refused = _refused(capfd, "train", "~/recipe.py", "--output=~/runs/a")
    assert refused.startswith(f"leaf-st: {tmp_path}/runs/a/store is missing")
    (tmp_path / "model").mkdir()
    assert str(tmp_path / "model") in _refused(capfd, "export", "~/model")


def test_too_few_texts_are_refused_before_the_teacher_is_opened(recipe, capfd):
    few = ("--set", "texts.limit=9", "--set", "teacher.model=no/such/teacher")
    for command in (["run", recipe], ["run", recipe, "--dry-run"], ["embed", recipe]):
        refused = _refused(capfd, *command, *few)
        assert "texts: expected at least 10 texts, because one in 10 is held out for validation, found 9" in refused


def test_a_dry_run_without_waits_shows_no_bar(recipe):
    command = [sys.executable, "-m", "leaf_st", "run", recipe, "--dry-run"]  # tqdm reads its delay when it is imported
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("plan of tiny")
    assert not done.stderr


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("texts.jsonl", "--output texts.jsonl: expected a folder for the results, found a file"),
        ("run/model/new", "--output run/model/new: expected a folder outside of run/model, whose files are published"),
    ],
)
def test_results_go_neither_to_a_file_nor_to_published_files(output, problem, finished, beir, capfd):
    shutil.copytree(finished, "run")
    refused = _refused(capfd, "evaluate", "run", "--tasks", beir, "--output", output)
    assert refused.startswith(f"leaf-st: {problem}")
    assert not Path("run/model/new").exists()


def test_results_of_the_current_folder_go_to_its_run(finished, beir, monkeypatch, capfd):
    shutil.copytree(finished, "run", ignore=shutil.ignore_patterns("results"))
    files = {path.name for path in Path("run/model").iterdir()}
    with monkeypatch.context() as patch:
        patch.chdir("run/model")
        _run("evaluate", ".", "--tasks", beir)
    assert Path("run/results/tasks.json").is_file()
    assert {path.name for path in Path("run/model").iterdir()} == files


def test_an_alignment_is_printed_once(recipe, capsys):
    _run("run", recipe, "--output", "out")
    capsys.readouterr()
    _run("measure", "alignment", "out")
    header, row, saved = capsys.readouterr().out.splitlines()
    assert header.split() == ["texts", "number", "mean", "L2", "mean", "cosine"]
    assert row.startswith("held-out texts ")
    assert saved == "saved in out/results/alignment.json"


def test_a_measured_student_whose_store_was_deleted_needs_no_vectors(recipe, beir, capsys):
    command = ["run", recipe, "--set", f"evaluate_on={beir}", "--output", "out"]
    _run(*command)
    *_, result, student = capsys.readouterr().out.splitlines()
    shutil.rmtree("out/store")
    _run(*command)
    again = capsys.readouterr().out
    assert again.splitlines()[-2:] == [result, student]
    assert "embedded again" not in again
    assert not Path("out/store").exists()
    _run(*command, "--dry-run")
    assert "the student in out is trained and measured: no text is embedded" in capsys.readouterr().out
    Path("out/results/agreement.json").unlink()  # needs the vectors
    _run(*command)
    assert (
        "the student is trained, but out/store is incomplete: the texts are embedded again" in capsys.readouterr().out
    )
    assert Path("out/results/agreement.json").is_file()


def test_documents_are_named_by_the_flag_of_the_search(model, capfd):
    search = ("search", "a", "--model", model, "--documents")
    Path("table.csv").write_text("title,body\na,b\n")
    refused = _refused(capfd, *search, "table.csv")
    assert refused.startswith("leaf-st: --text-column: expected a column 'text' in table.csv, found title, body: name")
    refused = _refused(capfd, *search, "none.txt")
    assert refused.startswith("leaf-st: --documents none.txt: no such file: ")


def test_a_search_says_which_documents_it_leaves_out(model, capfd):
    Path("table.csv").write_bytes(b"text\ncats\ngr\xf6\xdfe\ndogs\na\0b\ndogs\n")
    _run("search", "a", "--model", model, "--documents", "table.csv")
    said, *hits = capfd.readouterr().out.splitlines()
    assert said == "table.csv; left out: 1 not UTF-8, 1 with a NUL character, 1 duplicate"
    assert len(hits) == 3


def test_a_limit_of_text_is_named(recipe, capfd):
    assert "texts.limit: expected int of at least 1" in _refused(capfd, "run", recipe, "--set", "texts.limit=some")


def test_missing_input_of_a_stage_is_one_line(recipe, capfd):
    assert "texts.source none.jsonl: no such file" in _refused(capfd, "run", recipe, "--set", "texts.source=none.jsonl")
    assert "neither an existing folder nor a hub id" in _refused(
        capfd, "embed", recipe, "--set", "teacher.model=no/such/teacher"
    )
    assert "run `leaf-st embed` first" in _refused(capfd, "train", recipe)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--smoke", "--budget-usd=1"], "--smoke: expected no budget"),
        (["--budget-usd=-1"], "--budget-usd: expected a finite amount of at least 0, found -1"),
        *(([f"--budget-usd={usd}"], f"expected a finite amount of at least 0, found {usd}") for usd in ("inf", "nan")),
    ],
)
def test_a_bad_budget_is_one_line(recipe, capfd, arguments, message):
    assert message in _refused(capfd, "run", recipe, *arguments)


@pytest.mark.parametrize("partition", ["1", "a/b", "2/2", "1/0", "-1/2", "²/3"])
def test_a_bad_partition_is_one_line(recipe, capfd, partition):
    assert "expected" in _refused(capfd, "embed", recipe, f"--partition={partition}")


def test_layers_that_do_not_exist_are_one_line(recipe, capfd):
    refused = _refused(capfd, "embed", recipe, "--set", "student.layers=0,6", "--output", "out")
    assert "student.layers: expected some of the layers 0 to 5 of the bert model in rising order, found 0,6" in refused
    assert not Path("out").exists()


def test_missing_input_of_a_measurement_is_one_line(model, beir, capfd):
    assert "none" in _refused(capfd, "evaluate", "./none", "--tasks", beir)
    assert "none" in _refused(capfd, "evaluate", model, "--teacher", "./none", "--tasks", beir)
    assert "task none: expected a file, a folder" in _refused(capfd, "evaluate", model, "--tasks", "none")
    assert "none.txt: no such file" in _refused(capfd, "search", "a", "--model", model, "--documents", "none.txt")


def test_another_run_s_folder_is_one_line(recipe, capfd):
    _run("embed", recipe, "--output", "out")
    refused = _refused(capfd, "embed", recipe, "--output", "out", "--set", "texts.limit=30")
    assert "another recipe (texts.limit was None, is 30)" in refused


@pytest.mark.parametrize("command", ["run", "embed", "train"])
@pytest.mark.parametrize("smoke", [[], ["--smoke"]])
def test_a_foreign_folder_is_left_alone(recipe, capfd, command, smoke):
    Path("mine").mkdir()
    Path("mine/thesis.txt").touch()
    refused = _refused(capfd, command, recipe, "--output", "mine", *smoke)
    assert (
        "output mine: expected a new folder, or the folder of a run with recipe.json, found thesis.txt and" in refused
    )
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]


def test_an_output_below_a_file_is_one_line(recipe, capfd):
    assert "Not a directory: " in _refused(capfd, "embed", recipe, "--output", "texts.jsonl/out")


def test_an_output_that_the_system_cannot_make_is_one_line(recipe, capfd):
    for command in (["embed", recipe], ["run", recipe, "--smoke"]):
        written = _refused(capfd, *command, "--output", "/proc/leaf/out")
        assert "/proc/leaf cannot be made (No such file or directory): name another folder" in written


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: leaf-st")


def test_help_imports_no_library():
    script = (
        "import sys, leaf_st.cli.main\ntry: leaf_st.cli.main.main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "datasets", "numpy"} & set(done.stdout.split())


def _main(arguments, errors, limit):
    """Be the command's process: write to a file in place of stderr, into files of ``limit`` bytes at most."""
    torch.set_num_threads(1)
    with Path(errors).open("w") as stderr, contextlib.redirect_stderr(stderr):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        main(arguments)


def _start(*arguments, limit=resource.RLIM_INFINITY):
    """Start a command in a process of its own."""
    process = CONTEXT.Process(target=_main, args=([str(argument) for argument in arguments], "errors.txt", limit))
    process.start()
    return process


def test_a_run_folder_is_local(recipe, capfd):
    refused = _refused(capfd, "run", recipe, "--output", "s3://bucket/run")
    assert "output: expected a local path, found 's3://bucket/run': URLs and object storage" in refused
    assert not Path("s3:").exists()


def test_ctrl_c_stops_and_the_same_command_goes_on(recipe):
    train = ("train", recipe, "--set", "max_steps=24", "--output")
    _run("embed", recipe, "--output", "out")
    shutil.copytree("out", "undisturbed")
    _run(*train, "undisturbed")
    process = _start(*train, "out")
    while not list(Path("out").glob("checkpoints/checkpoint-*/complete.json")) and process.is_alive():
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGINT)
    process.join()
    errors = Path("errors.txt").read_text()
    assert process.exitcode == 130
    assert "stopped; the same command resumes embedding, training, evaluation and publishing" in errors
    assert "Traceback" not in errors
    assert not Path("out/model").exists()
    _run(*train, "out")
    assert _weights("out") == _weights("undisturbed")


def test_a_disk_without_room_is_one_line(recipe):
    """A limit on the size of files fails a real write, as a full disk does."""
    process = _start("embed", recipe, "--output", "out", limit=6000)
    process.join()
    errors = Path("errors.txt").read_text()
    assert process.exitcode == 2
    last = errors.splitlines()[-1]
    assert last.startswith("leaf-st: File too large: out/store/shard-00000000")
    assert "; raise the limit for the size of files (ulimit -f), or choose a file system" in last
    assert "Traceback" not in errors
    assert [path.name for path in Path("out/store").iterdir()] == ["fingerprint.json"]
    _run("embed", recipe, "--output", "out")
    assert Path("out/store/manifest.json").is_file()


def _embed_with(variables, recipe, folder):
    os.environ.update(variables, OMP_NUM_THREADS="1")  # or accelerate warns
    os.chdir(folder)
    main(["embed", str(recipe), "--output", "run"])


@pytest.mark.parametrize("variables", [{"RANK": "abc", "WORLD_SIZE": "2"}, {"WORLD_SIZE": "4"}, {"LOCAL_RANK": "0"}])
def test_variables_of_a_launcher_without_a_launcher(recipe, tmp_path, variables):
    done = forked.run(_embed_with, variables, recipe, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("leaf-st: the variables of a launcher cannot be used (")
    assert ", ".join(f"{name}={value}" for name, value in variables.items()) in done.stderr
    assert done.stderr.endswith("start the command with torchrun, or unset these variables\n")


def test_a_machine_without_a_folder_for_temporary_files_is_one_line(monkeypatch, capsys):
    with monkeypatch.context() as patch:  # pytest needs the folder again before the test ends
        patch.setattr(tempfile, "tempdir", None)
        patch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
        with pytest.raises(SystemExit):
            main(["models"])
    assert capsys.readouterr().err.startswith("leaf-st: temporary files: expected a folder that can be written")


def test_a_terminal_of_one_column_has_a_help(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1")
    with pytest.raises(SystemExit) as ended:
        main(["run", "--help"])
    assert ended.value.code == 0
    assert "\n  texts.source: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("library", "name", "value", "other"),
    [
        ("tqdm", "TQDM_MININTERVAL", "often", "TQDM_NCOLS"),
        ("torch", "TORCH_LOGS", "no_such", "TORCH_DEVICE"),
        ("accelerate", "ACCELERATE_LOG_LEVEL", "20", "ACCELERATE_GRADIENT"),
    ],
)
def test_a_variable_that_a_library_cannot_read_is_named(tmp_path, library, name, value, other):
    variables = {**os.environ, name: value, other: "80"}
    command = [sys.executable, "-m", "leaf_st", "models"]
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"leaf-st: {name}: expected a value that {library} can read (")
    assert done.stderr.count("\n") == 1
