"""leaf-demo: all-MiniLM-L6-v2 distilled into three of its layers, on the documentation of this machine's Python.

Source:   LEAF, arXiv 2509.12539.
Command:  leaf-st demo               (this recipe, then search, speed and a table)
          leaf-st run recipes/demo.py
Hardware: 2 cores of an EPYC with AVX-512 and bfloat16; 4.1 minutes in all, 2.2 GB resident.
Result:   98.6 % of the teacher's nDCG@10 asymmetric, 95.3 % standard, over 600 functions that training never saw.
Texts:    20,480 sentences and bodies of docstrings in the installed packages; one function in eight is held out.

The values live in the package, so that `leaf-st demo` works where this folder is not.
"""

from leaf_st.pipeline.demo import recipe

__all__ = ["recipe"]
