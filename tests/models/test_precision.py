import pytest
import torch

from leaf_st.models.precision import free_memory

CPU = torch.device("cpu")
_NAMES = {
    "v2": ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    "v1": ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
}


def _write(folder, version, most, used, cached):
    (folder / "memory").mkdir()
    *names, key = _NAMES[version]
    for name, content in zip(names, (most, used, f"anon 900\n{key} {cached}\nactive_file 50"), strict=True):
        (folder / name).write_text(f"{content}\n")


@pytest.mark.parametrize("version", _NAMES)
@pytest.mark.parametrize(("used", "expected"), [(3096, 1096), (4196, 0)])
def test_a_container_has_the_memory_that_its_limit_leaves(tmp_path, version, used, expected):
    _write(tmp_path, version, 4096, used, 96)
    assert free_memory(CPU, tmp_path) == expected


@pytest.mark.parametrize(("version", "most"), [("v2", "max"), ("v1", 2**63 - 4096), ("v2", "")])
def test_without_a_limit_the_memory_is_that_of_the_machine(tmp_path, version, most):
    _write(tmp_path, version, most, 3096, 96)
    (tmp_path / "none").mkdir()
    for folder in (tmp_path, tmp_path / "none"):
        assert free_memory(CPU, folder) > 2**20
