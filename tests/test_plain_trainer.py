"""The script that uses leaf_st's parts in sentence-transformers' own trainer."""

import runpy
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

SCRIPT = Path(__file__).parents[1] / "recipes" / "plain_trainer.py"


# The script trains with sentence-transformers' defaults, which ask for pinned memory.
@pytest.mark.filterwarnings("ignore:'pin_memory' argument")
def test_the_script_trains_on_batches_of_similar_length(tiny_teacher_folder, tmp_path, capsys):
    output = tmp_path / "student"
    trainer = runpy.run_path(str(SCRIPT))["main"](str(tiny_teacher_folder), str(output), steps=4)
    assert f"the student is in {output}; mean L2 to the teacher " in capsys.readouterr().out
    assert SentenceTransformer(str(output), device="cpu").encode("a text").shape == (32,)
    losses = [row["eval_l2"] for row in trainer.state.log_history if "eval_l2" in row]
    assert len(losses) == 5  # four during training, and one for the last line
    assert losses[3] < losses[0]

    texts = trainer.train_dataset["text"]
    batches = list(trainer.get_train_dataloader().batch_sampler)
    assert sorted(row for batch in batches for row in batch) == list(range(len(texts)))
    spread = [max(len(texts[row]) for row in batch) - min(len(texts[row]) for row in batch) for batch in batches]
    assert sorted(spread)[len(spread) // 2] < 20
