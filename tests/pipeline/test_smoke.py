from dataclasses import replace

import pytest
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.pipeline.run import Run
from leaf_st.pipeline.smoke import smoke
from leaf_st.recipe import DOCSTRINGS, StudentSpec, TeacherSpec, TextsSpec
from leaf_st.teacher.store import EmbeddingStore


def test_a_smoke_run_is_small_and_real(recipe, tmp_path):
    folder = tmp_path / "smoke"
    large = replace(recipe, student=StudentSpec(backbone="us/large", layers=(7, 11)), teacher=TeacherSpec("us/larger"))
    small = smoke(large, folder)
    assert small == smoke(large, folder)
    run = Run(small, folder)
    run.embed()
    student = run.train()
    assert len(EmbeddingStore(folder / "store")) == 60
    assert student[0].model.config.num_hidden_layers == 2
    assert SentenceTransformer(str(folder / "model")).encode("a").shape == (32,)


def test_a_smoke_run_goes_on_with_a_student_too(going_on, tmp_path):
    folder = tmp_path / "smoke"
    small = smoke(replace(going_on, student=StudentSpec(start="leaf-ir")), folder)
    assert small.student.start == str(folder / "start")
    run = Run(small, folder)
    run.embed()
    run.train()
    assert len(EmbeddingStore(folder / "general")) == 10


def test_a_smoke_run_does_without_the_user_s_own_texts(going_on, tmp_path, caplog):
    caplog.set_level("INFO", "leaf_st")
    waiting = replace(going_on, texts=TextsSpec(source="my.txt", sentences=True), general=TextsSpec(limit=2048))
    small = smoke(waiting, tmp_path / "smoke")
    assert (small.texts.source, small.texts.sentences) == (DOCSTRINGS, True)
    assert small.general.limit > small.texts.limit  # the first ones are trained on
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("leaf_st")]
    assert messages == ["my.txt does not exist: documentation strings are used instead"]


def test_a_smoke_run_of_a_table_is_a_table(recipe, tmp_path):
    small = smoke(replace(recipe, student=StudentSpec(static=True)), tmp_path / "smoke")
    run = Run(small, tmp_path / "smoke")
    run.embed()
    run.train()
    assert run.measure_alignment().l2 > 0
    assert (tmp_path / "smoke" / "model" / "0_StaticEmbedding" / "model.safetensors").is_file()


def test_a_smoke_run_counts_tokens(recipe, tmp_path):
    small = smoke(replace(recipe, student=StudentSpec(vocabulary=15_000, tokens="mine.json")), tmp_path / "smoke")
    Run(small, tmp_path / "smoke").embed()
    assert (tmp_path / "smoke" / "vocabulary.json").is_file()


def test_a_smoke_run_needs_no_gpu_and_none_of_the_real_student_s_parameters(recipe, tmp_path):
    given = {**recipe.training.arguments, "fp16": True, "learning_rate_mapping": {r"layer\.11": 1e-5}}
    del given["use_cpu"]
    small = smoke(replace(recipe, training=replace(recipe.training, arguments=given)), tmp_path / "smoke")
    changed = {"eval_steps": 0.5, "save_steps": 0.5, "use_cpu": True, "learning_rate_mapping": {}}
    assert small.training.arguments == {**recipe.training.arguments, **changed}
    run = Run(small, tmp_path / "smoke")
    run.embed()
    run.train()


def test_a_smoke_run_has_batches_that_its_texts_fill(recipe, tmp_path):
    sizes = (1024, 8, None)
    arguments = [{} if size is None else {"per_device_train_batch_size": size} for size in sizes]
    large = [replace(recipe, training=replace(recipe.training, arguments=given)) for given in arguments]
    small = [smoke(each, tmp_path / str(number)) for number, each in enumerate(large)]
    assert [each.training.arguments.get("per_device_train_batch_size") for each in small] == [32, 8, None]


def test_a_smoke_run_leaves_a_foreign_folder_alone(recipe, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").touch()
    with pytest.raises(
        InputError, match=r"expected a new folder, or the folder of a run with recipe\.json, found thesis\.txt and no"
    ):
        smoke(recipe, folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
