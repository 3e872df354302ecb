from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field

from leaf_st.recipe.type_names import type_name, value_name
from leaf_st.recipe.types import AtLeast1, Layers, LocalPaths, NonEmpty, local_folder, path_problem
from leaf_st.recipe.values import fits, parse_value


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        (int, "int"),
        (float, "number"),
        (bool, "true or false"),
        (str, "text"),
        (NonEmpty | None, "text or None"),
        (AtLeast1, "int of at least 1"),
        (Annotated[float, Field(gt=0)] | None, "number above 0 or None"),
        (Literal["l2", "mse", "cosine"], "one of l2, mse, cosine"),
        (Layers | None, "list of layer numbers such as 0,4,5, or None"),
        (bool | None, "true or false, or None"),
        (Literal["l2", "mse"] | None, "one of l2, mse, or None"),
        (LocalPaths, "list of paths"),
        (Mapping[Literal["query", "document"], int], "mapping from query or document to int"),
        (dict[str, Any] | str | None, "mapping, text, or None"),
    ],
)
def test_a_type_has_a_name(hint, name):
    assert type_name(hint) == name


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("1e5", str, "1e5"),
        ("123", str | None, "123"),
        ("True", str, "True"),
        ("None", str | None, None),
        ("null", int | None, None),
        ("false", bool, False),
        ("True", bool, True),
        ("false", bool | None, False),
        ("false", bool | str, False),
        ("yes", bool | str, "yes"),
        ("0.1", float, 0.1),
        ("2e-5", float, 2e-5),
        ("1", float, 1),
        ("1e5", int, 100_000),
        ("10", int | Mapping[str, int] | None, 10),
        ('{"query": 10, "document": null}', int | Mapping[str, int | None], {"query": 10, "document": None}),
        ("{'query': 10, 'document': None}", int | Mapping[str, int | None], {"query": 10, "document": None}),
        ("0,2", Sequence[int], [0, 2]),
        ("(0, 2)", Sequence[int], (0, 2)),
        ("[0, 2]", Sequence[int], [0, 2]),
        ("1,x", Sequence[str], ["1", "x"]),
        ("[a, b]", Sequence[str], ["a", "b"]),
        ('["a,b", "c"]', Sequence[str], ["a,b", "c"]),
        ("", Sequence[str], []),
        ("a", str | list[str] | None, "a"),
        ("a,b", str | list[str] | None, ["a", "b"]),
        ('{"min_num_params": 1}', dict[str, Any] | str | None, {"min_num_params": 1}),
        ("config.json", dict[str, Any] | str | None, "config.json"),
    ],
)
def test_the_type_decides_how_text_is_read(text, hint, value):
    found = parse_value(text, hint)
    found = list(found) if isinstance(value, list) else found
    assert found == value
    assert type(found) is type(value)
    assert fits(parse_value(text, hint), hint)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("yes", bool),
        ("1", bool),
        ("1.5", int),
        ("true", int),
        ("x", float),
        ("inf", float),
        ("1e999", float),
        ("None", str),
        ("0,true", Sequence[int]),
        ("[5]", Sequence[str]),
        ("{'a': 1", dict[str, int]),
        ("(" * 10_000, int),
    ],
)
def test_text_that_does_not_fit_is_left_for_validation_to_refuse(text, hint):
    assert not fits(parse_value(text, hint), hint)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("", "empty text"),
        (np.array([1, 2]), "array([1, 2])"),
        ("fast", "'fast'"),
        (1.5, "1.5"),
        ((0, 1), "(0, 1)"),
        ('{"a": ', 'text that is neither valid JSON nor a Python literal: {"a": '),
    ],
)
def test_a_found_value_has_a_name(value, name):
    assert value_name(value) == name


@pytest.mark.parametrize("path", ["s3://bucket/run", "hf://datasets/us/texts", "https://host/a.txt", "s3:/bucket/run"])
def test_a_url_is_no_path(path):
    assert "object storage" in path_problem(path)
    assert "://" in path_problem(path)


@pytest.mark.parametrize("path", ["runs/one", "C:/runs/one", "/runs/a:b", "us/model", "~/texts.jsonl", "a:b"])
def test_a_path_is_no_url(path):
    assert path_problem(path) is None


@pytest.mark.parametrize("of", [str, Path])
def test_a_folder_to_write_to_may_be_in_the_home_folder(of, monkeypatch):
    monkeypatch.setenv("HOME", "/home/us")
    assert local_folder(of("~/models/mine")) == Path("/home/us/models/mine")
    assert local_folder(of("models/~mine")) == Path("models/~mine")


def test_a_path_that_is_not_utf_8_is_named():
    assert path_problem("caf\udce9/texts.txt").startswith(
        "expected a path in UTF-8, found 'caf\\udce9/texts.txt': rename"
    )
