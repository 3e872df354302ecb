"""leaf-mt: mxbai-embed-large-v1 distilled into 23M parameters, as in the paper.

Source:   LEAF, arXiv 2509.12539, sections 2.1 and 2.2, appendix A. Choices where the paper is silent: no dropout,
          gradients clipped at norm 1 (transformers' default), bfloat16 if the GPU supports it, batches of texts of
          similar length, at most 512 tokens per text, and the epoch with the lowest validation loss is kept. Known
          differences: duplicate texts are removed, and weights of norms and biases do not decay, as in transformers'
          trainer.
Command:  leaf-st run recipes/leaf_mt.py --dry-run                        # estimate time and disk on this machine
          leaf-st run recipes/leaf_mt.py                                  # one GPU
          torchrun --nproc-per-node 4 -m leaf_st run recipes/leaf_mt.py --set per_device_train_batch_size=8
          leaf-st run recipes/leaf_mt.py --set texts.leave_out=msmarco,cc-news,triviaqa   # open texts only
Hardware: the paper reports 100 hours on one A100 with 40 GB, for 30 epochs of 205,664 steps, after embedding.
Teacher:  its vectors do not have norm 1, so the student has no Normalize module; the norms are measured at the start.
Expected: MTEB v2 (English) average over tasks 59.4 standard, 60.1 asymmetric (paper, Table 3); the public leaderboard
          shows 63.97, which is the average over data sets (paper: 63.0 and 64.1).
          This recipe has not been trained here yet.
"""

from leaf_st.recipe import Recipe, TeacherSpec
from leaf_st.zoo import MXBAI, PAPER_STUDENT, PAPER_TEXTS, PAPER_TRAINING

recipe = Recipe(
    name="leaf-mt",
    texts=PAPER_TEXTS,
    teacher=TeacherSpec(model=MXBAI.hub_id, revision=MXBAI.revision, prompts=MXBAI.prompts, max_length=512),
    student=PAPER_STUDENT,
    training=PAPER_TRAINING,
)
