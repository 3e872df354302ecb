"""leaf-demo: all-MiniLM-L6-v2 distilled into three of its layers, on the documentation of installed Python packages.

Source:   LEAF, arXiv 2509.12539.
Command:  leaf-st demo               (this recipe, then evaluation, encoding speed and a report page)
          leaf-st run recipes/demo.py
Hardware: 2 cores of an EPYC with AVX-512 and bfloat16: 5.9 minutes in total, 3.2 minutes of training, 2.1 GB of
          resident memory.
Result:   99.2 % of the teacher's nDCG@10 asymmetric, 95.5 % standard, over 600 functions that training never saw.
Texts:    20,480 sentences and bodies of docstrings in installed packages; one function in eight is held out.

The values are part of the package, so that `leaf-st demo` works without this folder.
"""

from leaf_st.pipeline.demo import recipe

__all__ = ["recipe"]
