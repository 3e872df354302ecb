"""LEAF in your own SentenceTransformerTrainer script, with your Dataset, callbacks and report_to.

Source:   LEAF, arXiv 2509.12539: leaf_st provides the loss (Eq. 3), the batch sampler and the evaluator.
Command:  python recipes/plain_trainer.py
Texts:    Documentation strings of installed packages; replace them with your own texts.
Result:   mean L2 to all-MiniLM-L6-v2 on 256 held-out texts 0.968, 0.854, 0.794 and 0.773 after 50, 100, 150, 200 steps.
"""

from itertools import islice

from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from transformers import EarlyStoppingCallback

from leaf_st import AlignmentEvaluator, LengthGroupedBatchSampler, TeacherAlignedLoss, build_student, load
from leaf_st.texts.docstrings import docstring_texts


def main(
    teacher: str = "sentence-transformers/all-MiniLM-L6-v2", output: str = "plain-student", steps: int = 200
) -> SentenceTransformerTrainer:
    """Train and save the student; return the trainer."""
    texts = [row.text for row in islice(docstring_texts(), 2048)]
    vectors = load(teacher).encode(texts)
    rows = Dataset.from_dict({"text": texts, "label": vectors}).train_test_split(256, seed=0)
    student = build_student(teacher, dimension=vectors.shape[1], normalized=True, layers=(0, 4, 5))
    args = SentenceTransformerTrainingArguments(
        output_dir=f"{output}/checkpoints",
        max_steps=steps,
        learning_rate=3e-4,
        per_device_train_batch_size=32,
        batch_sampler=LengthGroupedBatchSampler,
        eval_strategy="steps",
        eval_steps=0.25,
        save_steps=0.25,
        load_best_model_at_end=True,
        metric_for_best_model="l2",
        greater_is_better=False,
        report_to="none",  # or "tensorboard", "wandb", ...
    )
    trainer = SentenceTransformerTrainer(
        model=student,
        args=args,
        train_dataset=rows["train"],
        loss=TeacherAlignedLoss(student),
        evaluator=AlignmentEvaluator(rows["test"]["text"], rows["test"].with_format("numpy")["label"][:]),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=3)],
    )
    trainer.train()
    student.save_pretrained(output, create_model_card=False)
    print(f"the student is in {output}; mean L2 to the teacher {trainer.evaluate()['eval_l2']:.3f}")
    return trainer


if __name__ == "__main__":
    main()
