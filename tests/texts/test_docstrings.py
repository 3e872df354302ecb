import os
import shutil
import sys
from itertools import islice

import pytest

from leaf_st.texts import Text
from leaf_st.texts.docstrings import (
    HELD_OUT_SHARE,
    Documented,
    _installed,
    docstring_texts,
    documented_functions,
    is_held_out,
    split_docstring,
)

MODULE = '''"""Header of a module, which is never read at all."""


def first(x):
    """Return the first leaf of a tree, e.g. an oak. Needles count as leaves
    in this forest, whatever the botanist says.

    Args:
        x: A tree.
    """

    def inner():
        """Do something that nobody can call from outside."""


if True:
    class Tree:
        """A tree with leaves that fall."""

        async def shed(self):
            r"""Let every leaf fall to the ground

            This takes until \\December in most years.
            """

        def short(self):
            """Too short."""
'''
EXPECTED = [
    Documented(
        "wood.first",
        "Return the first leaf of a tree, e.g. an oak.",
        "Needles count as leaves\nin this forest, whatever the botanist says.\n\nArgs:\n    x: A tree.",
    ),
    Documented("wood.Tree", "A tree with leaves that fall.", ""),
    Documented("wood.Tree.shed", "Let every leaf fall to the ground", "This takes until \\December in most years."),
]


def write(root, name, source=MODULE):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)


def test_functions_methods_and_classes_in_the_order_of_the_source(tmp_path):
    write(tmp_path, "wood/__init__.py")
    assert list(documented_functions([tmp_path])) == EXPECTED


@pytest.mark.parametrize(
    "name",
    [
        "wood/tests/a.py",
        "wood/test_a.py",
        "wood/a_pb2.py",
        "wood/_vendor/a.py",
        "lib/site-packages/a.py",
        "conftest.py",
        "a.pyi",
    ],
)
def test_modules_left_out(tmp_path, name):
    write(tmp_path, name)
    assert not list(documented_functions([tmp_path]))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("# This file was automatically generated from wood.py\n", []),
        ("def broken(:\n", ["module a cannot be parsed"]),
        ("\0", ["module a cannot be parsed"]),
    ],
)
def test_generated_and_broken_modules_are_left_out(tmp_path, caplog, head, said):
    write(tmp_path, "a.py", head + MODULE)
    assert not list(documented_functions([tmp_path]))
    assert [message.split(" (")[0] for message in caplog.messages] == said


def test_warnings_of_other_peoples_code_are_silent(tmp_path):
    write(tmp_path, "a.py", 'def f():\n    """Match a digit with \\d in a pattern."""\n')
    assert [item.name for item in documented_functions([tmp_path])] == ["a.f"]


def test_order_depends_on_names_and_not_on_places(tmp_path):
    for number in range(20):
        write(tmp_path / "one", f"package{number}/wood.py")
    shutil.copytree(tmp_path / "one", tmp_path / "elsewhere" / "two")
    names = [item.name for item in documented_functions([tmp_path / "one"])]
    assert names == [item.name for item in documented_functions([tmp_path / "elsewhere" / "two"])]
    assert names != sorted(names)
    assert len(names) == 60


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_file_names_that_are_not_utf8(tmp_path):
    write(tmp_path, os.fsdecode(b"w\xffood.py"))
    assert len(list(documented_functions([tmp_path]))) == len(EXPECTED)


def test_long_elif_chains_do_not_exhaust_the_stack(tmp_path):
    chain = "if a == 0:\n    pass\n" + "".join(f"elif a == {n}:\n    pass\n" for n in range(300))
    write(tmp_path, "a.py", f"{chain}else:\n    def f():\n        'Return what no other branch returns.'\n")
    assert [item.name for item in documented_functions([tmp_path])] == ["a.f"]


@pytest.mark.parametrize(
    ("docstring", "summary", "body"),
    [
        ("f(a, b) -> int\n\nReturn the sum of a and b.", "Return the sum of a and b.", ""),
        ("Call :meth:`~tree.Leaf.fall` on every leaf.", "Call tree.Leaf.fall on every leaf.", ""),
        (
            "How do the leaves fall\n===\n\nThey do in late autumn.",
            "How do the leaves fall",
            "They do in late autumn.",
        ),
        ("Count the leaves that fell.\n:param tree: where", "Count the leaves that fell.", ""),
        (
            "Count the\n  fallen leaves.\nArgs:\n  x: a tree to see",
            "Count the fallen leaves.",
            "Args:\n  x: a tree to see",
        ),
        (
            "Count the leaves of a tree.\n\n>>> count(tree)\nmany of them indeed",
            "Count the leaves of a tree.",
            "",
        ),
        (
            "Count i.e. sum leaves. Count all of them in it.",
            "Count i.e. sum leaves.",
            "Count all of them in it.",
        ),
    ],
)
def test_split(docstring, summary, body):
    assert split_docstring(docstring) == (summary, body)


@pytest.mark.parametrize(
    "docstring",
    [
        "",
        "Return self.",
        "Internationalization of something",
        ">>> count(tree) == 12 and also more",
        ".. deprecated:: 1.2 use the other function",
        "Copyright 2020 the authors of this file.",
        "Return a leaf that is \ud800 no character.",
        "leaf (`Tensor` of shape `(1,)`, *optional*): What the forward pass takes.",
    ],
)
def test_docstrings_that_say_too_little(docstring):
    assert split_docstring(docstring) is None


def test_held_out_functions_are_not_in_the_texts(tmp_path):
    source = "".join(
        f'def f{n}():\n    """Return leaf number {n} of the tree.\n\n    It comes after {n - 1} others."""\n'
        for n in range(200)
    )
    write(tmp_path, "a.py", source)
    items = list(documented_functions([tmp_path]))
    kept = [item for item in items if not is_held_out(item.summary)]
    # Every item is on one side, and about one in the share on the other: five standard deviations of 200 draws.
    spread = 5 * (200 / HELD_OUT_SHARE * (1 - 1 / HELD_OUT_SHARE)) ** 0.5
    assert len(items) == 200
    assert abs(len(items) - len(kept) - 200 / HELD_OUT_SHARE) < spread
    assert 0 < len(kept) < 200
    texts = [text for item in kept for text in (Text(item.summary, "query"), Text(item.body, "document"))]
    assert list(docstring_texts([tmp_path])) == texts


def test_held_out_share_and_what_it_overlooks():
    names = [f"summary {number}" for number in range(4000)]
    assert 800 < sum(is_held_out(name, share=4) for name in names) < 1200
    assert all(is_held_out(name) == is_held_out(f"{name.upper()}.") for name in names)


def test_this_machine_has_documentation_of_many_packages():
    packages = {item.name.partition(".")[0] for item in islice(documented_functions(_installed()), 300)}
    assert len(packages) > 5
