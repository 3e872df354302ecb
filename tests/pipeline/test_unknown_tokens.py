import json

import pytest

from leaf_st.pipeline.run import Run
from leaf_st.pipeline.unknown_tokens import unknown_tokens
from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec
from leaf_st.texts import Text

_THAI = "ภาษาไทย"


@pytest.mark.parametrize(("texts", "share"), [(["text"] * 99, None), (["text", _THAI], "20%"), ([], None)])
def test_the_share_of_unknown_tokens(tiny_student, texts, share):
    found = unknown_tokens(tiny_student, [Text(text, "query") for text in texts])
    if share is None:
        assert found is None
    else:
        assert found.startswith(
            f"{share} of the tokens of the first 2 texts are unknown to the student's tokenizer, so "
        )


def test_a_run_warns_before_it_embeds(tiny_teacher_folder, tmp_path, caplog):
    source = tmp_path / "texts.jsonl"
    source.write_text("\n".join(json.dumps({"text": f"{_THAI} {number}"}) for number in range(40)))
    recipe = Recipe(
        name="tiny",
        texts=TextsSpec(source=str(source)),
        teacher=TeacherSpec(model=str(tiny_teacher_folder)),
        student=StudentSpec(layers=(0, 2), closed_form_rows=0),
        training=TrainingSpec(held_out_rows=4, arguments={"use_cpu": True}),
    )
    Run(recipe, tmp_path / "run").embed()
    assert "of the tokens of the first 40 texts are unknown to the student's tokenizer" in caplog.text
