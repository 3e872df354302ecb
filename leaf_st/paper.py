"""What both of the paper's students were trained with (arXiv 2509.12539), stated once for their recipes."""

from leaf_st.recipe import PAPER, StudentSpec, TextsSpec, TrainingSpec
from leaf_st.zoo import MINILM_L6_H384, MINILM_L6_H384_SAFETENSORS

TEXTS = TextsSpec(source=PAPER)  # 2.1, Table 1
STUDENT = StudentSpec(
    backbone=MINILM_L6_H384,  # 2.2
    revision=MINILM_L6_H384_SAFETENSORS,
    closed_form_rows=0,  # its projection starts random
)
TRAINING = TrainingSpec(  # 2.2; AdamW's weight decay and batches of 32 are this package's own defaults
    end_learning_rate=1e-5,
    cycles=3,
    decay="epoch",
    held_out_rows=128 * 32,
    arguments={
        "learning_rate": 1e-4,
        "num_train_epochs": 30,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "logging_steps": 5000,
    },
)
