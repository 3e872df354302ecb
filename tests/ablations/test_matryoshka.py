import json

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from leaf_st.teacher.store import EmbeddingStore

_MODES = ("teacher", "standard", "asymmetric")
TEXTS = ["a small text", "one that is longer than the other one", "x", "a cab", "bad"]


@pytest.fixture
def matryoshka(run):
    import matryoshka

    return matryoshka


def test_principal_axes_are_those_of_the_centred_vectors(matryoshka):
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(200, 6)) * [1, 5, 2, 4, 3, 6] @ draw.normal(size=(6, 6)) + 7
    axes = matryoshka.principal_axes(vectors)
    _, lengths, expected = np.linalg.svd(vectors - vectors.mean(axis=0))
    np.testing.assert_allclose(np.abs((axes * expected).sum(axis=1)), 1)
    np.testing.assert_allclose(axes @ axes.T, np.eye(6), atol=1e-12)
    np.testing.assert_allclose((vectors @ axes.T).var(axis=0), lengths**2 / 200)


@pytest.mark.parametrize("name", ["tiny_teacher_folder", "tiny_unnormalized_folder"])
def test_the_rotated_teacher_is_an_ordinary_folder(matryoshka, request, tmp_path, name):
    teacher = SentenceTransformer(
        str(request.getfixturevalue(name)), prompts={"query": "q: "}, similarity_fn_name="dot", device="cpu"
    )
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 32)))[0]
    matryoshka.save_rotated(teacher, axes, tmp_path / "rotated")
    rotated = SentenceTransformer(str(tmp_path / "rotated"), device="cpu")
    plain = teacher.encode_query(TEXTS)
    np.testing.assert_allclose(rotated.encode_query(TEXTS), plain @ axes.T, atol=1e-5)
    assert rotated.similarity_fn_name == "dot"
    assert [type(part).__module__.partition(".")[0] for part in rotated] == ["sentence_transformers"] * len(rotated)


def test_a_smoke_run_measures_both_and_goes_on(run, texts, beir, tmp_path):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "run"
    arguments = ("--smoke", "--texts", texts, "--output", folder, "--data", beir)
    printed = run("matryoshka", *arguments)
    header, _, *lines = _table(printed)
    assert header == ["dimensions", *(f"{mode}, {name}" for name in ("plain", "rotated") for mode in _MODES)]
    assert [line[0] for line in lines] == ["32", "16", "8", "4", "2", "1"]
    assert lines[0][1] == lines[0][4]  # a rotation leaves whole vectors as far from each other as they were
    assert [line[1] for line in lines[1:]] != [line[4] for line in lines[1:]]
    rows = json.loads((folder / "report" / "matryoshka.json").read_text())
    assert len(rows) == 2 * 3 * 6
    assert {row["coordinates"] for row in rows} == {"plain", "rotated"}
    figure = (folder / "report" / "matryoshka.svg").read_text()
    assert "first coordinates kept (log scale)" in figure
    again = run("matryoshka", *arguments)
    assert "mean L2" in printed
    assert "mean L2" not in again
    assert _table(again) == _table(printed)
    _check_the_store(folder)


def _check_the_store(folder):
    """What the rotated student learned from is what the rotated teacher gives."""
    plain, rotated = (EmbeddingStore(folder / name / "store") for name in ("plain", "rotated"))
    rows = range(len(plain))
    assert rotated.texts(rows) == plain.texts(rows)
    model = SentenceTransformer(str(folder / "teacher"), device="cpu")
    vectors = rotated.embeddings(rows).astype(np.float32)
    weight = model[-2].linear.weight.detach().numpy()
    np.testing.assert_allclose(vectors, plain.embeddings(rows).astype(np.float32) @ weight.T, atol=1e-3)  # of float16
    given = model.encode(rotated.prompted(rows), prompt="")
    assert np.linalg.norm(vectors - given, axis=1).mean() < 0.05  # the teacher of the store ran in bfloat16
    spread = vectors.var(axis=0)
    assert (np.diff(spread) < 1e-4).all()
    assert spread[0] > 4 * spread[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data"], "--data: expected BEIR folders to search, found none"),
        (["--data", "nowhere"], "nowhere"),
        (["--samples", "31"], "--samples: expected at least 32, the batch size, found 31"),
    ],
)
def test_what_cannot_be_run_is_refused_first(run, texts, beir, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run("matryoshka", "--texts", texts, "--output", tmp_path / "run", "--data", beir, *arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def _table(printed):
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
