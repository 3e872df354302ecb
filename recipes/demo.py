"""leaf-demo: all-MiniLM-L6-v2 distilled into three of its layers, on the documentation of this machine's Python.

Source:   LEAF, arXiv 2509.12539.
Command:  leaf-st demo               (this recipe, then search, speed and a table)
          leaf-st run recipes/demo.py
Hardware: 2 cores of a Xeon with AVX-512, no bfloat16 units; 6.5 minutes in all, 1.8 GB resident.
Result:   98.1 % of the teacher's nDCG@10 asymmetric, 91.8 % standard, over 600 functions that training never saw.
Texts:    14,336 sentences and bodies of docstrings in the installed packages; one function in eight is held out.

The values live in the package, so that `leaf-st demo` works where this folder is not.
"""

from leaf_st.demo import recipe

__all__ = ["recipe"]
