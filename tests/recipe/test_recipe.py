import json
from dataclasses import FrozenInstanceError, asdict, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from leaf_st.errors import InputError
from leaf_st.pipeline.recipe_file import describe_fields, override, recipe_fields, shown_fields
from leaf_st.recipe import (
    TEACHER_OF_START,
    Recipe,
    StudentSpec,
    TeacherSpec,
    TextsSpec,
    TrainingSpec,
)

RECIPE = Recipe(name="tiny", training=TrainingSpec(arguments={"learning_rate": 1.0}))
API = {"url": "http://127.0.0.1:1/v1", "model": "m"}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("name=other", "other"),
        ("texts.source=my texts.jsonl", "my texts.jsonl"),
        ("texts.limit=10", 10),
        ("texts.limit={'query': 3}", {"query": 3}),
        ("teacher.revision=None", None),
        ("teacher.prompts={'query': 'q: '}", {"query": "q: "}),
        ("student.layers=0,2", (0, 2)),
        ("student.layers=[1]", (1,)),
        ("student.layers=3", (3,)),
        ("training.end_learning_rate=1e-6", 1e-6),
        ("general.source=all.txt", "all.txt"),
        ("evaluate_on=one folder", ("one folder",)),
        ("evaluate_on=one,two", ("one", "two")),
        ("evaluate_on=[one, two]", ("one", "two")),
        ('evaluate_on=["one, two"]', ("one, two",)),
        ("evaluate_on=2024", ("2024",)),
        ("evaluate_on=", ()),
        ("name=2024", "2024"),
        ("name=1e5", "1e5"),
        ("texts.source=2024", "2024"),
        ("texts.text_column=0", "0"),
        ('texts.limit={"query": 10, "document": null}', {"query": 10, "document": None}),
        ("texts.limit=null", None),
        ("texts.limit=1e3", 1000),
        ("texts.source=~/texts.jsonl", str(Path.home() / "texts.jsonl")),
        ("general.source=~/texts.jsonl", str(Path.home() / "texts.jsonl")),
        ("evaluate_on=~/one,two~", (str(Path.home() / "one"), "two~")),
        ("teacher.model=~/teacher", str(Path.home() / "teacher")),
        ("teacher.revision=123", "123"),
        ("teacher.trust_remote_code=true", True),
        ('teacher.prompts={"query": ""}', {"query": ""}),
        ("student.revision=null", None),
        ("student.layers=[0, 2]", (0, 2)),
        ("evaluate_on=['one', 'two']", ("one", "two")),
    ],
)
def test_a_setting_changes_one_value(setting, value):
    changed = override(RECIPE, [setting])
    keys = setting.partition("=")[0].split(".")
    found = changed
    for key in keys:
        found = getattr(found, key)
    assert found == value
    before, after = RECIPE.to_dict(), changed.to_dict()
    if keys[0] == "general":  # a part that RECIPE leaves out
        before["general"] = asdict(TextsSpec(limit=2048))
    for inner in (before, after):
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
    assert after == before


@pytest.mark.parametrize("text", ["None", "null"])
def test_the_general_texts_of_a_recipe_can_be_unset(text):
    assert override(replace(RECIPE, general=TextsSpec(limit=9)), [f"general={text}"]) == RECIPE
    with pytest.raises(InputError, match=r"^--set general: no such key; did you mean general\.source\?$"):
        override(RECIPE, ["general=texts.txt"])


def test_training_arguments_are_set_beside_those_of_the_recipe():
    arguments = override(RECIPE, ["seed=7", "run_name=a=b", "learning_rate=2e-5"]).training.arguments
    assert arguments == {"learning_rate": 2e-5, "seed": 7, "run_name": "a=b"}
    assert RECIPE.training.arguments == {"learning_rate": 1.0}


def test_settings_are_checked_together():
    table = override(RECIPE, ["student.static=True", "student.layers=None", "texts.source=paper", "texts.limit=None"])
    assert table.student.static
    assert override(RECIPE, ["student.start=leaf-ir", "student.layers=None"]).student.start == "leaf-ir"


@pytest.mark.parametrize("key", ["depth", "student.depth", "training.arguments", "texts.", "."])
def test_an_unknown_key_refers_to_the_help(key):
    with pytest.raises(InputError) as raised:
        override(RECIPE, [f"{key}=1"])
    assert str(raised.value) == f"--set {key}: no such key; `leaf-st run --help` lists all keys"


@pytest.mark.parametrize(
    ("key", "similar"),
    [
        ("layers", "student.layers"),
        ("student.layer", "student.layers"),
        ("trainer.layers", "student.layers"),
        ("texts.sources", "texts.source"),
        ("texts", "texts.source"),
        ("limit", "general.limit or texts.limit"),
        ("lerning_rate", "learning_rate"),
        ("lr", "learning_rate"),
        ("epochs", "num_train_epochs"),
        ("train_batch_size", "per_device_train_batch_size"),
        ("training.batch_size", "per_device_train_batch_size or teacher.batch_size"),
        ("training.learning_rate", "learning_rate"),
        ("max_lenght", "student.max_length or teacher.max_length or training.max_length"),
    ],
)
def test_a_misspelled_key_gets_only_the_similar_keys(key, similar):
    with pytest.raises(InputError) as raised:
        override(RECIPE, [f"{key}=1"])
    assert str(raised.value) == f"--set {key}: no such key; did you mean {similar}?"


@pytest.mark.parametrize(
    ("key", "whole"), [("teacher.ensemble.0.weight", "teacher.ensemble"), ("student.layers.0", "student.layers")]
)
def test_a_part_of_a_value_is_no_key(key, whole):
    with pytest.raises(InputError, match=f"--set {key}: expected a key, found a part of the value of {whole}: set the"):
        override(RECIPE, [f"{key}=1"])


@pytest.mark.parametrize(("setting", "found"), [("name", "no equals sign"), ("=3", "no key"), ("", "no equals sign")])
def test_a_setting_needs_a_key_and_a_value(setting, found):
    with pytest.raises(InputError, match=f"^--set {setting}: expected KEY=VALUE, found {found}$"):
        override(RECIPE, [setting])


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ('texts.limit={"query": 10, "query": 40}', "query"),
        ("texts.limit={'query': 10, 'document': None, 'query': 40}", "query"),
        ('lr_scheduler_kwargs={"a": {"b": true, "b": null}}', "b"),
    ],
)
def test_a_repeated_key_of_a_mapping_is_an_error(setting, key):
    field = setting.partition("=")[0]
    with pytest.raises(InputError, match=f"^--set {field}: expected each key .* once, found '{key}' more than once in"):
        override(RECIPE, [setting])


def test_a_text_may_repeat_a_key():
    text = '{"a": 1, "a": 2}'
    assert override(RECIPE, [f"texts.text_column={text}"]).texts.text_column == text


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("name=a/b", "plain name"),
        ("name=..", "plain name"),
        ("training.cycles=1.5", "int of at least 1"),
        ("training.end_learning_rate=True", "number of at least 0"),
        ("texts.source=", "expected path or hf://datasets/OWNER/NAME, found empty text"),
        ("general.source=None", "general.source: expected path"),
        ("texts.kind=both", "one of query, document"),
        ("texts.limit=0", "int of at least 1"),
        ("texts.limit=1.5", "int of at least 1"),
        ("texts.limit=True", "int of at least 1"),
        ("texts.limit={'both': 1}", "mapping from query or document to int"),
        ("texts.limit={'query': 1.5}", "mapping from query or document to int, such as {'query': 500,"),
        ("texts.limit={'query': 1", "found text that is neither valid JSON nor a Python literal: {'query': 1"),
        ("training.end_learning_rate=nan", "expected number of at least 0, found 'nan'"),
        ("training.decay=", "expected one of step, epoch, found empty text"),
        ("name=", "found empty text"),
        ("teacher.model=None", "hub id or path"),
        ("texts.text_column=None", "expected text"),
        ("teacher.trust_remote_code=no", "true or false"),
        ("student.static=yes", "true or false"),
        ("teacher.prompts={'query': 5}", "mapping from query or document to text"),
        ("teacher.prompts=q", "mapping from query or document to text"),
        ("teacher.prompts={'query': '\\ud83d'}", "expected text in UTF-8, found '\\ud83d': correct the text"),
        ("name=\udcff", "expected text in UTF-8"),
        ("teacher.vector_column=\udcff", "expected text in UTF-8"),
        ("teacher.prompts={'both': ''}", "one of query, document"),
        ("teacher.precision=float8", "one of auto, float32, bfloat16"),
        ("teacher.store_dtype=bfloat16", "one of float16, float32"),
        ("teacher.max_length=1", "int of at least 2"),
        ("student.layers=None", "a smaller backbone, the layers"),
        ("student.layers=()", "list of layer numbers such as 0,4,5, or None, found ()"),
        ("student.layers=a,b", "list of layer numbers such as 0,4,5, or None, found ['a', 'b']"),
        ("student.layers=0,True", "list of layer numbers such as 0,4,5, or None, found [0, True]"),
        ("student.backbone=https://huggingface.co/us/small", ": write us/small"),
        ("teacher.model=https://hf.co/us/small/tree/main", ": write us/small"),
        ("teacher.model=hf://us/small", ": write us/small"),
        ("teacher.model=https://example.org/small.zip", "expected a local path"),
        ("student.start=s3://bucket/model", "object storage are not supported"),
        ("texts.source=s3://bucket/a.parquet", "object storage are not supported"),
        ("teacher.model=student.start", "expected a student in student.start"),
        ("general.limit=None", "set a number such as 2048"),
        ("general.limit={'query': 5}", "set a number such as 2048"),
        ("general.limit=0", "general.limit: expected int of at least 1"),
        ("general.kind=both", "one of query, document"),
        ("evaluate_on=None", "list of paths"),
        ("evaluate_on=[5]", "list of paths"),
        ("student.max_length=1", "int of at least 2"),
        ("student.closed_form_rows=-1", "int of at least 0"),
        ("training.distance=l3", "one of l2, mse, cosine"),
        ("training.decay=hour", "one of step, epoch"),
        ("training.cycles=0", "int of at least 1"),
        ("training.held_out_rows=0", "int of at least 1"),
        ("training.max_length=1", "int of at least 2"),
        ("training.end_learning_rate=-1", "number of at least 0"),
        ("training.end_learning_rate=low", "number of at least 0"),
        ("training.end_learning_rate=1e999", "number of at least 0"),
        ("training.budget_minutes=0", "number above 0"),
        ("training.budget_minutes=long", "number above 0"),
    ],
)
def test_a_value_out_of_range_is_named(setting, expected):
    key, _, value = setting.partition("=")
    with pytest.raises(InputError) as raised:
        override(RECIPE, [setting])
    message = str(raised.value)
    assert key.rpartition(".")[2] in message
    assert expected in message
    if (
        value.isprintable() and value not in ("None", "1e999", "()", "a,b", "0,True", "[5]") and "{" not in value
    ):  # shown as Python reads it
        assert value in message


@pytest.mark.parametrize("other", [{"backbone": "us/small"}, {"layers": (0, 2)}, {"vocabulary": 9}, {"static": True}])
def test_the_start_of_further_training_is_not_built_again(other):
    with pytest.raises(
        InputError, match=rf"student\.{next(iter(other))}: expected no value with student\.start"
    ) as raised:
        StudentSpec(start="leaf-ir", **other)
    key, value = next(iter(other.items()))
    unset = f"--set student.{key}={'false' if value is True else 'None'}"
    assert str(raised.value).endswith(f"leave out one of the two, with {unset} or --set student.start=None")


def test_the_paper_s_texts_are_not_watched():
    with pytest.raises(InputError, match=r"general\.source: expected a local file or folder"):
        Recipe(name="a", general=TextsSpec(source="paper"))
    with pytest.raises(InputError, match=r"texts\.limit: expected None with source=paper, found 9"):
        TextsSpec(source="paper", limit=9)


def test_a_commit_of_digits_stays_text():
    assert override(RECIPE, ["teacher.revision=1234567"]).teacher.revision == "1234567"


def test_paths_are_stored_as_text():
    texts = TextsSpec(source=Path("~") / "texts.txt")
    assert texts.source == str(Path.home() / "texts.txt")
    assert texts == TextsSpec(source="~/texts.txt")


def test_parts_are_frozen_and_compare_by_value():
    spec = TrainingSpec(cycles=2)
    assert replace(spec, cycles=3) == TrainingSpec(cycles=3) != spec
    with pytest.raises(FrozenInstanceError):
        spec.cycles = 4
    given = {"seed": 1}
    spec = TrainingSpec(arguments=given)
    given["seed"] = 2
    assert spec.arguments == {"seed": 1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TextsSpec(sentences="false"), "^texts.sentences: expected true or false, found 'false'"),
        (lambda: TextsSpec("a.txt", "text", 5), "^texts.kind_column: expected text, found 5"),
        (lambda: TeacherSpec(name="a"), "^teacher.name: no such field, expected one of model, "),
        (lambda: TeacherSpec(max_length=1.5), "^teacher.max_length: expected int of at least 2 or None, found 1.5"),
        (lambda: Recipe(), "^name: no value given"),
        (lambda: Recipe("a", 5), "^texts: expected a TextsSpec, found 5"),
        (lambda: Recipe("a", evaluate_on=["s3://b/c"]), "^evaluate_on: expected a local path, found 's3://b/c'"),
        (lambda: StudentSpec(layers=np.array([0.5, 2])), r"^student.layers: .*found array\(\[0.5, 2. \]\)"),
        (lambda: TrainingSpec(arguments=5), "^training.arguments: expected mapping, found 5"),
    ],
)
def test_the_constructor_names_the_field(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("layers", [np.array([0, 1, 2]), range(3), [0, 1, 2]])
def test_layers_are_any_sequence_of_numbers(layers):
    assert StudentSpec(layers=layers).layers == (0, 1, 2)


def test_numbers_of_training_arguments_may_be_numpy_s():
    given = {
        "learning_rate": np.float32(0.5),
        "max_steps": np.int64(4),
        "weight_decay": Decimal("0.25"),
        "learning_rate_mapping": {"bias": np.float32(0.5)},
        "use_cpu": True,
    }
    arguments = TrainingSpec(arguments=given).arguments
    assert json.dumps(arguments) == json.dumps(
        {
            "learning_rate": 0.5,
            "max_steps": 4,
            "weight_decay": 0.25,
            "learning_rate_mapping": {"bias": 0.5},
            "use_cpu": True,
        }
    )


def test_every_field_is_listed_with_type_default_and_description():
    listed = {item.key: item for item in recipe_fields()}
    assert set(listed) >= {"name", "texts.limit", "general.limit", "student.layers", "evaluate_on"}
    assert all(item.type and item.default and item.description.endswith(".") for item in listed.values())
    assert (listed["training.distance"].type, listed["training.distance"].default) == ("one of l2, mse, cosine", "l2")
    assert listed["teacher.revision"].type == "text or None"
    assert listed["student.layers"].default == "0,4,5"
    for key, *_ in shown_fields():
        assert f"  {key}: " in describe_fields(80)
    assert max(map(len, describe_fields(80).splitlines())) <= 80


def test_a_published_record_is_read():
    path = Path(__file__).parents[2] / "model_cards" / "leaf-mini" / "recipe.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for key in ("recipe", "resolved"):
        recipe = Recipe.from_dict(record[key])
        # The recipe of a version without these fields.
        texts = {"exclude": None, **record[key]["texts"]}
        student = {"vocabulary": None, "vocabulary_from": None, "tokens": None, **record[key]["student"]}
        assert json.loads(json.dumps(recipe.to_dict())) == {**record[key], "texts": texts, "student": student}
    assert recipe.texts.limit == {"document": 32768}
    assert recipe.student.layers == (0, 4, 5)


def test_a_part_of_another_type_is_named():
    with pytest.raises(InputError, match=r"texts: expected a TextsSpec, found 'a\.parquet'"):
        Recipe(name="wrong", texts="a.parquet")


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        Recipe(name="table", student=StudentSpec(static=True)),
        Recipe(name="paths", student=StudentSpec(backbone=Path("small")), evaluate_on=[Path("one"), "two"]),
        Recipe(
            name="full",
            texts=TextsSpec(source="texts.csv", text_column="body", kind="query", limit={"query": 3}),
            teacher=TeacherSpec(model="us/big", revision="main", prompts={"query": "q: "}, max_length=9),
            student=StudentSpec(backbone="us/small", layers=[0, 1], closed_form_rows=0),
            training=TrainingSpec(distance="mse", cycles=3, decay="epoch", budget_minutes=1.5, arguments={"seed": 1}),
            evaluate_on=["one"],
        ),
        Recipe(
            name="going on",
            general=TextsSpec(limit={"query": 1, "document": 2}),
            teacher=TeacherSpec(model=TEACHER_OF_START),
            student=StudentSpec(start=Path("leaf")),
        ),
    ],
)
def test_a_recipe_survives_json(recipe):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("backbone", "'us/small'"),
        ("layers", r"\(0, 2\)"),
        ("vocabulary", "9"),
        ("max_length", "9"),
        ("revision", "'a1'"),
    ],
)
def test_a_static_student_is_only_a_table(part, found):
    values = {"backbone": "us/small", "layers": (0, 2), "vocabulary": 9, "max_length": 9, "revision": "a1"}
    value = values[part]
    with pytest.raises(InputError, match=rf"student\.{part}: expected no value with student\.static, found {found}"):
        StudentSpec(static=True, **{part: value})


def test_a_smaller_vocabulary_makes_a_student_of_the_teacher():
    assert StudentSpec(vocabulary=900).needs_tokens
    assert not StudentSpec(vocabulary=900, tokens="vocabulary.json").needs_tokens
    asked = override(RECIPE, ["student.vocabulary=15000", "student.vocabulary_from=my.txt"]).student
    assert (asked.vocabulary, asked.vocabulary_from) == (15000, "my.txt")
    for name in ("vocabulary_from", "tokens"):
        with pytest.raises(InputError, match=rf"student\.{name}: expected None without student\.vocabulary, found 'a'"):
            StudentSpec(layers=(0, 2), **{name: "a"})
    with pytest.raises(InputError, match=r"student\.vocabulary_from: expected a local file or folder, found paper"):
        StudentSpec(vocabulary=900, vocabulary_from="paper")


def test_a_static_student_reads_all_tokens_in_training():
    with pytest.raises(InputError, match=r"training\.max_length: expected None with student\.static, found 9"):
        Recipe(name="wrong", student=StudentSpec(static=True), training=TrainingSpec(max_length=9))


def test_a_recipe_of_another_version_is_refused():
    value = RECIPE.to_dict()
    value["student"]["depth"] = 3
    with pytest.raises(InputError, match=r"recipe of another version of leaf-st: student\.depth: no such field"):
        Recipe.from_dict(value)


def test_a_limit_of_texts_goes_with_their_source():
    paper = override(RECIPE, ["texts.source=paper", "texts.per_source=9", "texts.leave_out=msmarco"])
    changed = override(paper, ["texts.source=texts.jsonl", "texts.limit=10"]).texts
    assert (changed.source, changed.limit, changed.per_source, changed.leave_out) == ("texts.jsonl", 10, None, ())
    assert override(paper, ["texts.source=paper", "texts.per_source=7"]).texts.leave_out == ("msmarco",)
    with pytest.raises(InputError, match=r"texts\.per_source"):
        override(paper, ["texts.source=texts.jsonl", "texts.per_source=9"])
    limited = override(RECIPE, ["texts.limit=10", "texts.sentences=True"])
    changed = override(limited, ["texts.source=paper"]).texts
    assert (changed.limit, changed.sentences) == (None, True)


@pytest.mark.parametrize(
    "other", [{"vector_column": "v"}, {"api": {"url": "http://127.0.0.1:1/v1", "model": "m"}}, {"ensemble": [{}, {}]}]
)
def test_only_a_local_model_has_a_batch_size(other):
    with pytest.raises(InputError, match=r"^teacher\.batch_size: expected None with teacher\.\w+"):
        TeacherSpec(batch_size=8, **other)
    assert TeacherSpec(ensemble=[{"batch_size": 8}, {}]).ensemble[0].batch_size == 8


def test_a_table_goes_with_its_column_of_vectors():
    with pytest.raises(InputError, match=r"^teacher\.table: expected None without teacher\.vector_column"):
        TeacherSpec(table={"source": "docstrings"})
    assert TeacherSpec(table={"source": "docstrings"}, vector_column="v").table.source == "docstrings"


def test_training_arguments_are_utf_8():
    with pytest.raises(InputError, match=r"training\.arguments: expected text in UTF-8, found .*udcff"):
        override(RECIPE, ["run_name=\udcff"])


def test_a_revision_and_prompts_are_those_of_the_model_that_the_recipe_names(caplog):
    teacher = TeacherSpec(model="us/big", revision="a1", prompts={"query": "q: "})
    recipe = Recipe(name="tiny", teacher=teacher, student=StudentSpec(backbone="us/small", revision="refs/pr/2"))
    assert override(recipe, ["student.backbone=us/small", "teacher.model=us/big"]) == recipe
    assert override(recipe, ["student.backbone=None", "student.start=leaf-ir"]).student == StudentSpec(start="leaf-ir")
    given = {"revision": "b2", "prompts": {"query": "p: "}}
    settings = ["teacher.model=us/other", *(f"teacher.{key}={value}" for key, value in given.items())]
    assert override(recipe, settings).teacher == TeacherSpec(model="us/other", **given)
    assert not caplog.messages
    other = override(recipe, ["student.backbone=us/other", "teacher.model=us/else"])
    assert (other.teacher, other.student) == (TeacherSpec(model="us/else"), StudentSpec(backbone="us/other"))
    (said,) = caplog.messages
    kept = """add --set 'teacher.prompts={"query": "q: "}' to keep them"""
    assert said == f"the recipe's teacher.prompts are left out, because they are those of us/big: {kept}"
    assert caplog.records[0].levelname == "WARNING"  # also shown to scripts that set up no logging


def test_the_code_of_another_teacher_does_not_run_unless_asked_for():
    recipe = Recipe("tiny", teacher=TeacherSpec("us/big", trust_remote_code=True), student=StudentSpec(static=True))
    assert override(recipe, ["teacher.model=us/big", "teacher.max_length=9"]).teacher.trust_remote_code
    assert override(recipe, ["teacher.model=us/other"]).teacher == TeacherSpec("us/other")
    asked = ["teacher.model=us/other", "teacher.trust_remote_code=true"]
    assert override(recipe, asked).teacher == TeacherSpec("us/other", trust_remote_code=True)
    further = replace(
        recipe, teacher=replace(recipe.teacher, model=TEACHER_OF_START), student=StudentSpec(start="us/a")
    )
    assert override(further, ["student.start=us/a", "student.max_length=9"]).teacher.trust_remote_code
    assert not override(further, ["student.start=us/b"]).teacher.trust_remote_code
    assert override(further, ["student.start=us/b", asked[1]]).teacher == further.teacher


def test_prompts_of_given_vectors_do_not_depend_on_the_model_s_name():
    teacher = TeacherSpec(model="us/big", prompts={"query": "q: "}, vector_column="v")
    given = Recipe(name="a", texts=TextsSpec("a.parquet"), teacher=teacher, student=StudentSpec(backbone="us/small"))
    assert override(given, ["teacher.model=us/other"]).teacher == replace(teacher, model="us/other")


def test_a_revision_needs_a_model():
    with pytest.raises(InputError, match=r"student\.revision: expected None without student\.backbone .*, found 'a1'"):
        StudentSpec(layers=(0, 2), revision="a1")


@pytest.mark.parametrize(
    ("other", "setting", "remedy"),
    [
        ({"api": API}, "model=us/big", "add --set teacher.api=None"),
        ({"api": API}, "model=sentence-transformers/all-MiniLM-L6-v2", "add --set teacher.api=None"),
        ({"api": API}, "revision=a1", "add --set teacher.api=None"),
        ({"api": API}, "precision=float32", "add --set teacher.api=None"),
        ({"ensemble": [{}, {}]}, "model=us/big", "add --set 'teacher.ensemble=[]'"),
    ],
)
def test_a_setting_of_a_local_model_is_refused_with_another_kind_of_teacher(other, setting, remedy):
    recipe = Recipe("tiny", teacher=TeacherSpec(**other), student=StudentSpec(backbone="us/small"))
    name = setting.partition("=")[0]
    found = f"teacher.{next(iter(other))}, which is used in its place: {remedy}, or leave out teacher.{name}"
    with pytest.raises(InputError) as raised:
        override(recipe, [f"teacher.{setting}"])
    assert str(raised.value) == f"--set teacher.{name}: expected a local model as the teacher, found {found}"
    assert override(recipe, ["teacher.precision=auto", "student.max_length=9"]).teacher == recipe.teacher


def test_an_api_and_a_local_model_are_not_set_together():
    api = [f"teacher.api.{name}={value}" for name, value in API.items()]
    recipe = Recipe("tiny", student=StudentSpec(backbone="us/small"))
    assert override(recipe, api).teacher.api.model == "m"
    with pytest.raises(InputError, match=r"^--set teacher\.model: expected a local model"):
        override(recipe, [*api, "teacher.model=us/big"])


@pytest.mark.parametrize("model", ["us/big", "sentence-transformers/all-MiniLM-L6-v2"])
def test_a_local_model_in_place_of_an_api_or_an_ensemble_has_its_own_prompts(model, caplog):
    for other, unset in (({"api": API}, "api=None"), ({"ensemble": [{}, {}]}, "ensemble=[]")):
        teacher = TeacherSpec(prompts={"query": "q: "}, **other)
        recipe = Recipe("tiny", teacher=teacher, student=StudentSpec(backbone="us/small"))
        assert override(recipe, [f"teacher.model={model}", f"teacher.{unset}"]).teacher == TeacherSpec(model)
        assert f"teacher.prompts are left out, because they are those of {teacher.name}: add" in caplog.messages[-1]
