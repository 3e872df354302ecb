"""The parts of leaf_st in a user's own SentenceTransformerTrainer."""

import json

import datasets
import numpy as np
import pytest
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

from leaf_st.errors import InputError
from leaf_st.models.random_weights import WIDTH
from leaf_st.training.loss import TeacherAlignedLoss
from leaf_st.training.sampler import LengthGroupedBatchSampler


@pytest.fixture
def rows(teacher, texts):
    """A data set of texts and labels, such as users have."""
    prompted = [teacher.prompts[row.kind] + row.text for row in texts]
    encoders = {"query": teacher.encode_query, "document": teacher.encode_document}
    vectors = np.concatenate([encoders[row.kind]([row.text]) for row in texts])
    return datasets.Dataset.from_dict({"text": prompted, "label": vectors.tolist()})


def _trainer(student, folder, train, held_out=None):
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=12,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        batch_sampler=LengthGroupedBatchSampler,
        logging_steps=1,
        save_steps=6,
        eval_strategy="steps" if held_out else "no",
        eval_steps=6,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    return SentenceTransformerTrainer(
        model=student,
        args=arguments,
        train_dataset=train,
        eval_dataset=held_out,
        loss=TeacherAlignedLoss(student),
    )


def _losses(trainer):
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def test_the_sampler_is_a_value_of_batch_sampler(tmp_path, tiny_student, rows):
    parts = rows.train_test_split(20, seed=0)
    trainer = _trainer(tiny_student, tmp_path, parts["train"], parts["test"])
    sampler = trainer.get_train_dataloader().batch_sampler
    batches = list(sampler)
    assert sorted(row for batch in batches for row in batch) == list(range(len(parts["train"])))
    characters = [np.ptp([len(parts["train"][row]["text"]) for row in batch]) for batch in batches]
    shuffled = np.random.default_rng(0).permutation(192).reshape(12, 16)
    spread = [np.ptp([len(parts["train"][int(row)]["text"]) for row in batch]) for batch in shuffled]
    assert np.mean(characters) < np.mean(spread) / 3
    trainer.train()
    assert np.mean(_losses(trainer)[-3:]) < 0.9 * _losses(trainer)[0]
    assert (tmp_path / "checkpoint-12" / "modules.json").is_file()
    assert [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]


def test_the_data_set_of_a_store_goes_into_a_trainer(tmp_path, tiny_student, store):
    dataset = store.to_dataset()
    held_out = store.held_out(20)
    others = np.setdiff1d(np.arange(len(store)), held_out)
    trainer = _trainer(tiny_student, tmp_path, dataset.select(others), dataset.select(held_out))
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["label"].shape == (16, WIDTH)
    assert {"text_input_ids", "text_attention_mask", "label"} <= set(batch)
    assert all(name.startswith("text_") or name == "label" for name in batch)
    trainer.train()
    assert np.mean(_losses(trainer)[-3:]) < 0.9 * _losses(trainer)[0]
    assert json.loads((tmp_path / "checkpoint-12" / "trainer_state.json").read_text())["global_step"] == 12


def test_the_rows_of_a_store_are_grouped_by_the_lengths_of_their_texts(texts, store):
    in_memory = datasets.Dataset.from_dict({"text": [row.text for row in texts]})
    mine = list(LengthGroupedBatchSampler(in_memory, 16, seed=3))
    assert mine == list(LengthGroupedBatchSampler(store.to_dataset(), 16, seed=3))


def test_a_column_of_lengths_is_used(rows):
    lengths = np.random.default_rng(0).integers(1, 500, size=len(rows))
    with_lengths = rows.add_column("length", lengths)
    expected = list(LengthGroupedBatchSampler(lengths, 16, seed=1, rows_per_chunk=7))
    assert list(LengthGroupedBatchSampler(with_lengths, 16, seed=1, rows_per_chunk=7)) == expected


def test_missing_texts_have_no_length():
    dataset = datasets.Dataset.from_dict({"text": ["a", None, "abc"]})
    assert sorted(row for batch in LengthGroupedBatchSampler(dataset, 2) for row in batch) == [0, 1, 2]


def test_a_data_set_without_texts_is_named():
    dataset = datasets.Dataset.from_dict({"label": ["one"], "number": [1]})
    with pytest.raises(InputError, match="expected a column of texts or a column 'length', found label, number"):
        LengthGroupedBatchSampler(dataset, 2, valid_label_columns=["label"])
