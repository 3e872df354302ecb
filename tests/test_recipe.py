import json
from dataclasses import asdict
from pathlib import Path

import pytest
from huggingface_hub import constants

from leaf_st.errors import InputError
from leaf_st.pipeline.recipe_file import load_recipe, override
from leaf_st.recipe import DOCSTRINGS, OF_START, PAPER, Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "plain_trainer")  # that one is a script
RECIPE = Recipe(name="tiny", training=TrainingSpec(arguments={"learning_rate": 1.0}))


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


def test_training_arguments_are_set_beside_those_of_the_recipe():
    arguments = override(RECIPE, ["seed=7", "run_name=a=b", "learning_rate=2e-5"]).training.arguments
    assert arguments == {"learning_rate": 2e-5, "seed": 7, "run_name": "a=b"}
    assert RECIPE.training.arguments == {"learning_rate": 1.0}


def test_settings_are_checked_together():
    table = override(RECIPE, ["student.static=True", "student.layers=None", "texts.source=paper", "texts.limit=None"])
    assert table.student.static
    assert override(RECIPE, ["student.start=leaf-ir", "student.layers=None"]).student.start == "leaf-ir"


@pytest.mark.parametrize("key", ["layers", "student", "student.depth", "training.arguments", "texts.", "."])
def test_an_unknown_key_names_the_known_ones(key):
    with pytest.raises(InputError, match=rf"--set {key}: no such key[;,] .*expected one of .*student\.layers, "):
        override(RECIPE, [f"{key}=1"])


def test_a_key_without_its_part_is_said_with_it():
    with pytest.raises(InputError, match=r"no such key, did you mean general\.limit or texts\.limit\? expected"):
        override(RECIPE, ["limit=1"])


def test_a_setting_needs_a_value():
    with pytest.raises(InputError, match="--set name: expected key=value"):
        override(RECIPE, ["name"])


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("name=a/b", "plain name"),
        ("name=5", "plain name"),
        ("name=..", "plain name"),
        ("texts.source=5", "a text"),
        ("texts.kind=both", "one of query, document"),
        ("texts.limit=0", "a whole number of at least 1"),
        ("texts.limit=1.5", "a whole number of at least 1"),
        ("texts.limit=True", "a whole number of at least 1"),
        ("texts.limit={'both': 1}", "one of query, document"),
        ("texts.limit={'query': 1.5}", "a whole number of at least 0"),
        ("teacher.model=None", "a text"),
        ("texts.text_column=5", "a text"),
        ("teacher.trust_remote_code=false", "True or False"),
        ("student.static=yes", "True or False"),
        ("teacher.revision=1.5", "a text"),
        ("teacher.prompts={'query': 5}", "a text for query"),
        ("teacher.prompts=q", "prompts by kind"),
        ("teacher.prompts={'both': ''}", "one of query, document"),
        ("teacher.precision=float8", "one of auto, float32, bfloat16"),
        ("teacher.store_dtype=bfloat16", "one of float16, float32"),
        ("teacher.max_length=1", "a whole number of at least 2"),
        ("student.layers=None", "a smaller backbone or the layers"),
        ("student.layers=()", "numbers of layers"),
        ("student.layers=a,b", "numbers of layers"),
        ("student.layers=0,True", "numbers of layers"),
        ("student.backbone=5", "a text"),
        ("student.start=5", "a text"),
        ("teacher.model=student.start", "student.start is not given"),
        ("general.limit=None", "a limit of all rows such as 2048"),
        ("general.limit={'query': 5}", "a limit of all rows such as 2048"),
        ("general.limit=0", "general.limit: expected a whole number of at least 1"),
        ("general.kind=both", "one of query, document"),
        ("evaluate_on=5", "sets on this disk"),
        ("evaluate_on=[5]", "a text"),
        ("student.max_length=1", "a whole number of at least 2"),
        ("student.closed_form_rows=-1", "a whole number of at least 0"),
        ("training.distance=l3", "one of l2, mse, cosine"),
        ("training.decay=hour", "one of step, epoch"),
        ("training.cycles=0", "a whole number of at least 1"),
        ("training.held_out_rows=0", "a whole number of at least 1"),
        ("training.max_length=1", "a whole number of at least 2"),
        ("training.end_learning_rate=-1", "at least 0"),
        ("training.end_learning_rate=low", "at least 0"),
        ("training.end_learning_rate=1e999", "at least 0"),
        ("training.budget_minutes=0", "more than 0"),
        ("training.budget_minutes=long", "more than 0"),
    ],
)
def test_a_value_out_of_range_is_named(setting, expected):
    key, _, value = setting.partition("=")
    with pytest.raises(InputError) as raised:
        override(RECIPE, [setting])
    message = str(raised.value)
    assert key.rpartition(".")[2] in message
    assert expected in message
    if value not in ("None", "1e999", "()", "a,b", "0,True", "[5]") and "{" not in value:  # shown as Python reads it
        assert value in message


@pytest.mark.parametrize("other", [{"backbone": "us/small"}, {"layers": (0, 2)}, {"static": True}])
def test_a_student_that_goes_on_is_built_already(other):
    with pytest.raises(InputError, match=f"student.start and student.{next(iter(other))} are both given"):
        StudentSpec(start="leaf-ir", **other)


def test_the_paper_s_texts_are_not_watched():
    with pytest.raises(InputError, match=r"general\.source: expected local texts"):
        Recipe(name="a", general=TextsSpec(source="paper"))
    with pytest.raises(InputError, match=r"texts\.limit: expected none with texts\.source=paper, found 9"):
        TextsSpec(source="paper", limit=9)


def test_a_commit_of_digits_alone_is_no_number():
    assert override(RECIPE, ["teacher.revision=1234567"]).teacher.revision == "1234567"


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
            teacher=TeacherSpec(model=OF_START),
            student=StudentSpec(start=Path("leaf")),
        ),
    ],
)
def test_a_recipe_survives_json(recipe):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("part", "found"), [("backbone", "'us/small'"), ("layers", r"\(0, 2\)"), ("max_length", "9"), ("revision", "'a1'")]
)
def test_a_static_student_is_a_table_alone(part, found):
    value = {"backbone": "us/small", "layers": (0, 2), "max_length": 9, "revision": "a1"}[part]
    with pytest.raises(InputError, match=rf"student\.{part}: expected none beside student\.static, found {found}"):
        StudentSpec(static=True, **{part: value})


def test_a_static_student_reads_all_tokens_in_training():
    with pytest.raises(InputError, match=r"training\.max_length: a static student reads all tokens, found 9"):
        Recipe(name="wrong", student=StudentSpec(static=True), training=TrainingSpec(max_length=9))


def test_a_recipe_of_another_version_is_refused():
    value = RECIPE.to_dict()
    value["student"]["depth"] = 3
    with pytest.raises(InputError, match=r"recipe of another version of leaf-st: .*'depth'"):
        Recipe.from_dict(value)


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("source", ["texts.jsonl", PAPER, DOCSTRINGS])
def test_recipes_with_open_texts_take_another_source(source, offline, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    recipe = load_recipe(FOLDER / "leaf_mini.py")
    assert recipe.texts.source == (DOCSTRINGS if offline else PAPER)
    assert override(recipe, [f"texts.source={source}"]).texts.source == source


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


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_repository_s_recipes_load(path):
    assert load_recipe(path, ["name=other"]).name == "other"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("recipe = ", "does not run: SyntaxError"),
        ("import no_such_module", "does not run: ModuleNotFoundError: No module named 'no_such_module'"),
        ("open('no such file')", "does not run: FileNotFoundError"),
        ("1 / 0", "does not run: ZeroDivisionError"),
        ("\0", "does not run: "),
        ("", "expected a module-level `recipe = Recipe(...)`, found NoneType"),
        ("recipe = {'name': 'a'}", "found dict"),
        ("from leaf_st import Recipe\nrecipe = Recipe(name='')", "recipe name '': expected a plain name"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, content, message):
    path = tmp_path / "recipe.py"
    path.write_text(content)
    with pytest.raises(InputError) as raised:
        load_recipe(path)
    assert message in str(raised.value)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(InputError, match=r"recipe .*none\.py: no such file"):
        load_recipe(tmp_path / "none.py")


def test_the_paper_s_recipes_train_alike():
    ir, mt = (load_recipe(RECIPES[0].with_name(f"leaf_{name}.py")) for name in ("ir", "mt"))
    assert (ir.texts, ir.student, ir.training) == (mt.texts, mt.student, mt.training)
    assert (ir.training.end_learning_rate, ir.training.arguments["learning_rate"]) == (1e-5, 1e-4)  # paper 2.2
    assert ir.teacher != mt.teacher
