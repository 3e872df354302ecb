"""leaf-ir: snowflake-arctic-embed-m-v1.5 distilled into 23M parameters, as in the paper.

Source:   LEAF, arXiv 2509.12539, sections 2.1 and 2.2, appendix A. Choices where the paper is silent: no dropout,
          gradients clipped at norm 1 (transformers' default), bfloat16 if the GPU supports it, batches of texts of
          similar length, at most 512 tokens per text, and the epoch with the lowest validation loss is kept. Known
          differences: duplicate texts are removed, and weights of norms and biases do not decay, as in transformers'
          trainer.
Command:  leaf-st run recipes/leaf_ir.py --dry-run                        # estimate time and disk on this machine
          leaf-st run recipes/leaf_ir.py                                  # one GPU
          torchrun --nproc-per-node 4 -m leaf_st run recipes/leaf_ir.py --set per_device_train_batch_size=8
          leaf-st run recipes/leaf_ir.py --set texts.leave_out=msmarco,cc-news,triviaqa   # open texts only
Hardware: the paper reports 100 hours on one A100 with 40 GB, for 30 epochs of 205,664 steps, after embedding.
Expected: BEIR nDCG@10 53.9 standard, 54.8 asymmetric (paper, Table 2); the public leaderboard shows 53.55 and 54.03.
          This recipe has not been trained here yet.
"""

from leaf_st.recipe import Recipe, TeacherSpec
from leaf_st.zoo import ARCTIC, PAPER_STUDENT, PAPER_TEXTS, PAPER_TRAINING

recipe = Recipe(
    name="leaf-ir",
    texts=PAPER_TEXTS,
    teacher=TeacherSpec(model=ARCTIC.hub_id, revision=ARCTIC.revision, prompts=ARCTIC.prompts, max_length=512),
    student=PAPER_STUDENT,
    training=PAPER_TRAINING,
)
