"""Sweeps of tiny students: one embedding, a resumed sweep, the table and the choice, and what is refused."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from families import save_family
from letters import save_set, save_texts
from vocabularies import documentation, make_tokenizer

from leaf_st.cli.main import main
from leaf_st.errors import InputError
from leaf_st.evaluation.beir import document_text, load_beir
from leaf_st.evaluation.results import Result, retention
from leaf_st.evaluation.rows import read_rows
from leaf_st.export import onnx, packed
from leaf_st.export.forms import exported_files
from leaf_st.models.load import load_model
from leaf_st.pipeline import embedding
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.sweep import _export, _measure_held_out, _train, members
from leaf_st.pipeline.sweep_table import SweepRow, best, format_sweep, on_front
from leaf_st.publishing.report.report import write_report
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.teacher.local import LocalTeacher
from leaf_st.teacher.store import CUT_AT, EmbeddingStore, read_header
from leaf_st.teacher.workers import Partition

NAMES = ("0,2", "1", "static")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_teacher_folder):
    """A folder with texts, an evaluation set and the file of a recipe."""
    folder = tmp_path_factory.mktemp("sweep")
    texts, letters = save_texts(folder / "texts.jsonl", 100), save_set(folder / "letters", 20, 6)
    (folder / "recipe.py").write_text(f"""
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
recipe = Recipe(
    name="tiny",
    texts=TextsSpec(source={str(texts)!r}),
    teacher=TeacherSpec(model={str(tiny_teacher_folder)!r}),
    student=StudentSpec(layers=(0, 2)),
    training=TrainingSpec(held_out_rows=30, arguments={{"max_steps": 2, "use_cpu": True, "bf16": False}}),
    evaluate_on=[{str(letters)!r}],
)
""")
    return folder


@pytest.fixture
def recipe(place, tiny_teacher_folder):
    return Recipe(
        name="tiny",
        texts=TextsSpec(source=str(place / "texts.jsonl")),
        teacher=TeacherSpec(model=str(tiny_teacher_folder)),
        student=StudentSpec(layers=(0, 2)),
        training=TrainingSpec(held_out_rows=30, arguments={"max_steps": 1, "use_cpu": True, "bf16": False}),
    )


def _sweep(place, *arguments, students=NAMES):
    main(["sweep", str(place / "recipe.py"), "--students", *students, "--output", str(place / "out"), *arguments])


@pytest.fixture(scope="module")
def family(place):
    """The folder of a sweep that was interrupted in the second training and repeated, and what happened."""
    embedded, trained, train = [], [], Run.train

    def interrupted(run):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(run.folder.name)
        return train(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "standard_graph", packed.packed_graph)  # torch takes seconds for the other one
        precompute = embedding.precompute
        patch.setattr(
            embedding,
            "precompute",
            lambda texts, teacher, folder, **options: (
                embedded.append(folder) or precompute(texts, teacher, folder, **options)
            ),
        )
        patch.setattr(Run, "train", interrupted)
        with pytest.raises(SystemExit) as stopped:
            _sweep(place)
        assert stopped.value.code == 130
        patch.setattr(Run, "train", lambda run: trained.append(run.folder.name) or train(run))
        _sweep(place)
    return place / "out", embedded, trained


def test_the_texts_are_embedded_once_and_a_sweep_resumes(family):
    folder, embedded, trained = family
    assert set(embedded) == {folder / "0,2" / "store"}
    assert trained == ["0,2", "1", "static"]
    shards = [sorted((folder / name / "store").glob("shard-*")) for name in NAMES]
    assert len({shard.stat().st_ino for of_run in shards for shard in of_run}) == len(shards[0]) > 0


def test_the_teacher_embeds_an_evaluation_set_once_for_all_students(place, family, tmp_path, monkeypatch):
    folder, _, _ = family
    names, calls, encode = NAMES[:2], Counter(), LocalTeacher.encode_document
    for name in names:
        shutil.copytree(folder / name, tmp_path / name)
        shutil.rmtree(tmp_path / name / "results" / "mteb")
        (tmp_path / name / "results" / "tasks.json").unlink()
    monkeypatch.setattr(LocalTeacher, "encode_document", lambda self, texts: calls.update(texts) or encode(self, texts))
    main(["sweep", str(place / "recipe.py"), "--students", *names, "--output", str(tmp_path)])
    documents = [document_text(row) for row in load_beir(place / "letters").corpus]
    assert {calls[text] for text in documents} == {1}
    for name in names:
        before, again = (read_rows(place / name / "results" / "tasks.json", Result) for place in (folder, tmp_path))
        assert [row.score for row in again] == pytest.approx([row.score for row in before])
        assert all(row.seconds > 0 for row in again)


def test_each_student_is_an_ordinary_run(family):
    folder, _, _ = family
    layers = {name: load_model(str(folder / name)) for name in NAMES[:2]}
    assert [len(model[0].model.encoder.layer) for model in layers.values()] == [2, 1]
    report = write_report(folder / "1").read_text()
    assert "tiny-1" in report
    record = json.loads((folder / "static" / "recipe.json").read_text())
    run = Run(Recipe.from_dict(record["recipe"]), folder / "static")
    assert run.embed() is not None
    assert run.measure_alignment().l2 == pytest.approx(_rows(folder)["static"].l2)


def _rows(folder):
    return {row.name: row for row in read_rows(folder / "sweep.json", SweepRow)}


def test_the_rows_are_those_of_the_runs(family):
    folder, _, _ = family
    rows = _rows(folder)
    assert tuple(rows) == NAMES
    for name, row in rows.items():
        results, model = folder / name / "results", folder / name / "model"
        assert row.retention == pytest.approx(retention(read_rows(results / "tasks.json", Result)))
        assert row.parameters == sum(weight.numel() for weight in load_model(str(model)).parameters())
        agreement = json.loads((results / "agreement.json").read_text())
        assert row.agreement == {line["mode"]: line["recall_10"] for line in agreement if line["group"] == "all"}
        file = {"onnx int8": "onnx/model_int8.onnx", "onnx": "onnx/model.onnx", "torch float32": "model.safetensors"}
        assert row.megabytes == next(model.rglob(file[row.form])).stat().st_size / 1e6
        assert row.milliseconds > 0
    assert rows["static"].form == "torch float32"
    assert {"onnx int8", "onnx"} >= {rows[name].form for name in NAMES[:2]}
    assert rows["0,2"].l2 != rows["1"].l2
    assert all(f">{name}<" in (folder / "sweep.svg").read_text() for name in NAMES)


def test_a_limit_chooses(family, place, capsys):
    folder, _, _ = family
    rows = _rows(folder)
    most = sorted(row.megabytes for row in rows.values())[1]
    kept = max((row for row in rows.values() if row.megabytes <= most), key=lambda row: row.retention["asymmetric"])
    _sweep(place, "--max-mb", str(most))
    printed = capsys.readouterr().out
    assert f"the chosen student is in {folder / kept.name}" in printed
    assert [line.split("  ")[0] for line in printed.splitlines() if " *  " in line] == [f"{kept.name} *"]


def test_sets_without_a_column_are_named(family, place, tmp_path, capsys):
    folder = shutil.copytree(family[0], tmp_path / "out")
    pairs = {"sentence1": ["ab", "cd", "ef"], "sentence2": ["ab", "ce", "gh"], "score": [5.0, 2.0, 0.0]}
    pq.write_table(pa.table(pairs), tmp_path / "similar.parquet")
    sets = [str(place / "letters"), str(tmp_path / "similar.parquet")]
    _sweep(place, "--output", str(folder), "--tasks", *sets, students=["static"])
    written = capsys.readouterr().out
    assert f"the table shows only nDCG@10; the scores on similar are in {folder / 'static' / 'results'}" in written
    assert "nDCG@10 kept: share of the teacher's nDCG@10 on letters." in written


def test_limits_that_no_student_keeps(family, place, capsys):
    (family[0] / "sweep.json").unlink()
    with pytest.raises(SystemExit) as ended:
        _sweep(place, "--max-mb", "0.000001", "--max-ms", "10000")
    assert ended.value.code == 2
    captured = capsys.readouterr()
    last = captured.err.splitlines()[-1]  # below progress bars
    assert last.startswith("leaf-st: expected a student within the limits, found none: the smallest has ")
    assert captured.out.splitlines()[-1].startswith("saved in ")
    assert set(_rows(family[0])) == set(NAMES)


@pytest.mark.parametrize(
    ("students", "arguments", "expected"),
    [
        (["0,2", "small"], [], "--students: expected layers such as 0,4,5"),
        (["../0,2"], [], "--students: expected layers such as 0,4,5"),
        (["static+9"], [], "--students: expected layers such as 0,4,5"),
        (["7"], [], "--students 7: expected a number of layers from 1 to 6, found 7"),
        (["0"], [], "--students 0: expected a number of layers from 1 to 6, found 0"),
        (["0,9"], [], "student.layers: expected some of the layers 0 to 5"),
        (["2", "0,5"], [], "--students: expected different students, found 2 and 0,5"),
        (["0,2"], ["--tasks", "NoSuchSet"], "NoSuchSet"),
        (["0,2"], ["--tasks", "STSBenchmark"], "--tasks STSBenchmark: expected a retrieval set, whose nDCG@10 the"),
        (["0,2"], ["--set", "student.layers=None", "--set", "student.start=x"], "student.start: expected None"),
        (["0,2"], ["--max-mb", "0"], "argument --max-mb: expected a number above 0, found 0"),
    ],
)
def test_wrong_input_is_one_line_before_any_work(students, arguments, expected, place, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        _sweep(place, "--output", str(tmp_path / "new"), *arguments, students=students)
    assert ended.value.code == 2
    written = capsys.readouterr().err
    assert expected in written
    assert written.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_set_student_has_no_effect(place, tmp_path, capsys):
    more = ("--output", str(tmp_path / "new"), "--set", "student.static=false", "--set", "student.layers=0,3")
    with pytest.raises(SystemExit):
        _sweep(place, *more, students=["7"])
    written = capsys.readouterr().err
    assert "--set student.layers has no effect, because --students names the students" in written
    assert "student.static has no effect" not in written


def test_several_processes_are_refused(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit):
        _sweep(place, "--output", str(tmp_path / "new"))
    assert "sweep: expected one process, found 2" in capsys.readouterr().err


def test_names_of_students(recipe, tiny_teacher_folder):
    backbone = replace(recipe, student=StudentSpec(backbone=str(tiny_teacher_folder), max_length=16))
    found = members(backbone, ["3", "0,5+900", "static", "1"])
    assert {name: member.student.layers for name, member in found.items()} == {
        "3": (0, 4, 5),
        "0,5+900": (0, 5),
        "static": None,
        "1": (5,),
    }
    assert [found[name].student.vocabulary for name in found] == [None, 900, None, None]
    assert found["3"].student.backbone == str(tiny_teacher_folder)
    assert found["3"].student.max_length == 16
    assert found["static"].student.static
    assert [member.name for member in found.values()] == ["tiny-3", "tiny-0,5+900", "tiny-static", "tiny-1"]


def test_the_texts_are_cut_to_what_the_students_read(recipe, tmp_path):
    short = replace(recipe, training=replace(recipe.training, max_length=8))
    runs = {tmp_path / name: member for name, member in members(short, ["static", "0,2"]).items()}
    _train(runs)
    assert {read_header(folder / "store")[CUT_AT] for folder in runs} == {8}
    assert all((folder / "model").is_dir() for folder in runs)


def test_a_sweep_resumes_with_texts_that_a_small_vocabulary_cut(recipe, tmp_path):
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in documentation()))
    teacher = save_family("bert", tmp_path, make_tokenizer("wordpiece"))
    recipe = replace(recipe, texts=TextsSpec(source=str(source)), teacher=TeacherSpec(model=str(teacher)))
    runs = {tmp_path / name: member for name, member in members(recipe, ["1", "1+500"]).items()}
    _train(runs)
    embedded = _shards(tmp_path / "1+500")
    for part in ("model", "checkpoints"):
        shutil.rmtree(tmp_path / "1" / part, ignore_errors=True)
    _train(runs)
    assert (tmp_path / "1" / "model").is_dir()
    assert _shards(tmp_path / "1") == _shards(tmp_path / "1+500") == embedded


def test_a_fitted_teacher_and_general_texts_are_shared(recipe, place, tmp_path, tiny_teacher_folder):
    general = tmp_path / "general.txt"
    general.write_text("".join(f"sentence {number}\n" for number in range(20)))
    member = TeacherSpec(model=str(tiny_teacher_folder))
    projected = replace(
        recipe,
        teacher=TeacherSpec(ensemble=[member, replace(member, weight=2.0)], dimensions=8),
        student=StudentSpec(backbone=str(tiny_teacher_folder), layers=(0,)),
        general=TextsSpec(source=str(general), limit=20),
    )
    runs = {tmp_path / "runs" / name: part for name, part in members(projected, ["1", "2"]).items()}
    _train(runs)
    second = tmp_path / "runs" / "2"
    assert load_model(str(second)).get_embedding_dimension() == 8
    resumed = Run(runs[second], second)
    assert resumed.recipe.teacher.axes == str(second / "ensemble" / "axes.safetensors")
    assert Path(resumed.recipe.teacher.axes).samefile(tmp_path / "runs" / "1" / "ensemble" / "axes.safetensors")
    assert resumed.measure_alignment().rows > 0


def _shards(run):
    """Return the files of the shards, which hard links share."""
    return {(path.name, path.stat().st_ino) for path in (run / "store").glob("shard-*")}


def test_a_sweep_that_stopped_while_embedding_resumes_with_other_names(recipe, tmp_path):
    recipe = replace(recipe, teacher=replace(recipe.teacher, rows_per_shard=16))  # seven shards
    stopped = {tmp_path / name: member for name, member in members(recipe, ["2", "1"]).items()}
    for folder, partition in zip(stopped, (Partition(0, 2), Partition(6, 7)), strict=True):
        assert Run(stopped[folder], folder).embed(partition) is None
    embedded = _shards(tmp_path / "2")
    assert [len(_shards(folder)) for folder in stopped] == [4, 1]
    runs = {tmp_path / name: member for name, member in members(recipe, ["static", "1"]).items()}
    _train(runs)
    assert all((folder / "model").is_dir() for folder in runs)
    assert not (tmp_path / "2" / "model").exists()
    assert all(_shards(folder) == _shards(tmp_path / "2") > embedded for folder in runs)


def test_a_new_student_gets_the_store_of_an_earlier_one_with_the_same_texts(recipe, tmp_path):
    runs = {}
    for name, texts in (("1", recipe.texts), ("2", recipe.texts), ("3", replace(recipe.texts, limit=50))):
        (member,) = members(replace(recipe, texts=texts), [name]).values()
        _train({tmp_path / name: member})
        runs[name] = _shards(tmp_path / name)
    assert runs["1"] == runs["2"]
    assert not runs["1"] & runs["3"]
    assert len(EmbeddingStore(tmp_path / "3" / "store")) == 50


def test_a_store_of_shorter_texts_than_a_student_reads_is_not_shared(recipe, tmp_path, caplog):
    caplog.set_level("INFO", "leaf_st")
    short = replace(recipe, training=replace(recipe.training, max_length=8))
    for name, part in (("1", short), ("2", recipe), ("static", recipe)):
        (member,) = members(part, [name]).values()
        _train({tmp_path / name: member})
    assert [read_header(tmp_path / name / "store")[CUT_AT] for name in ("1", "2", "static")] == [8, None, None]
    assert f"the texts of {tmp_path / '1'} are cut to 8 tokens, fewer than {tmp_path / '2'} reads" in caplog.messages


def test_a_store_of_longer_texts_than_a_student_reads_is_shared_with_a_message(recipe, tmp_path, caplog):
    caplog.set_level("INFO", "leaf_st")
    short = replace(recipe, training=replace(recipe.training, max_length=8))
    for name in ("static", "1"):
        (member,) = members(short, [name]).values()
        _train({tmp_path / name: member})
    assert _shards(tmp_path / "static") == _shards(tmp_path / "1")
    of_second = caplog.text.partition(f"training of {tmp_path / '1'}")[2]
    assert "the student reads the first 8 tokens of a text, the teacher 64: the end" in of_second


def test_without_a_store_the_texts_are_embedded_for_a_new_student(recipe, tmp_path):
    short = replace(recipe, training=replace(recipe.training, max_length=8))
    for name in ("static", "1"):  # the second one is trained on the complete texts of the first
        (member,) = members(short, [name]).values()
        _train({tmp_path / name: member})
    for name in ("static", "1"):
        shutil.rmtree(tmp_path / name / "store")
    _train({tmp_path / name: member for name, member in members(short, ["1", "2"]).items()})
    assert read_header(tmp_path / "2" / "store")[CUT_AT] == 8
    assert not (tmp_path / "1" / "store").exists()


def test_a_student_without_its_store_keeps_what_was_measured(family, tmp_path):
    folder = shutil.copytree(family[0] / "1", tmp_path / "1")
    run = Run(Recipe.from_dict(json.loads((folder / "recipe.json").read_text())["recipe"]), folder)
    agreement, alignment = _measure_held_out(run)
    shutil.rmtree(folder / "store")
    assert _measure_held_out(run) == (agreement, alignment)
    (folder / "results" / "agreement.json").unlink()
    with pytest.raises(InputError, match="store"):
        _measure_held_out(run)


def test_deleted_graphs_are_exported_again(family, tmp_path, quick_graph):
    run = shutil.copytree(family[0] / "1", tmp_path / "1")
    before = set(exported_files(run / "model"))
    shutil.rmtree(run / "model" / "onnx")
    _export(run, None)
    assert set(exported_files(run / "model")) == before != set()
    times = [path.stat().st_mtime_ns for path in exported_files(run / "model").values()]
    _export(run, None)
    assert [path.stat().st_mtime_ns for path in exported_files(run / "model").values()] == times


def _row(name, megabytes, milliseconds, kept, agreement=50.0):
    shares = {} if kept is None else {"standard": kept - 5, "asymmetric": kept}
    found = {"standard": agreement - 10, "asymmetric": agreement}
    return SweepRow(name, "onnx int8", 10**6, megabytes, milliseconds, shares, found, 0.3, ["letters"], "CPU")


def test_the_best_within_limits_and_the_front():
    rows = [_row("large", 20, 2, 99), _row("medium", 10, 1, 97), _row("slow", 10, 3, 96), _row("fast", 40, 0.1, 90)]
    assert best(rows, None, None).name == "large"
    assert best(rows, 10, None).name == "medium"
    assert best(rows, None, 0.5).name == "fast"
    assert best(rows, 10, 0.5) is None
    assert [row.name for row in rows if on_front(row, rows)] == ["large", "medium", "fast"]
    assert on_front(rows[1], [rows[1], rows[1]])


def test_without_sets_the_agreement_decides():
    rows = [replace(_row("a", 1, 1, None, agreement=40.0), sets=()), replace(_row("b", 2, 2, None), sets=())]
    assert best(rows, None, None).name == "b"
    assert "no retrieval set was evaluated; name one with --tasks" in format_sweep(rows)
