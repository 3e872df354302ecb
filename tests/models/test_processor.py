from pathlib import Path

import pytest
import torch

from leaf_st.models.precision import bfloat16_is_fast


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="only Linux lists the instructions of its processor")
def test_a_processor_is_known_to_earlier_versions_of_torch(monkeypatch):
    expected = bfloat16_is_fast(torch.device("cpu"))
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert bfloat16_is_fast(torch.device("cpu")) is expected
