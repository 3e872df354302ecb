"""The table in docs/architectures.md holds: each family goes through the complete path again."""

import pytest
from architectures import committed, outcome

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

_DESCRIPTION = ("family", "name", "example")


@pytest.mark.parametrize("family", committed())
def test_the_table_of_architectures_holds(family, tmp_path):
    row = committed()[family]
    expected = {stage: result for stage, result in row.items() if stage not in _DESCRIPTION}
    assert outcome(family, tmp_path) == expected, "run python tests/architectures.py and python docs/generate.py"
