import pytest
import torch

from leaf_st.models.precision import free_memory

CPU = torch.device("cpu")
_NAMES = {
    "v2": ("", "memory.max", "memory.current", "memory.stat", "inactive_file"),
    "v1": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file"),
}


def _write(folder, version, most, used, cached, group=""):
    controller, *names, key = _NAMES[version]
    place = folder / controller / group
    place.mkdir(parents=True, exist_ok=True)
    for name, content in zip(names, (most, used, f"anon 900\n{key} {cached}\nactive_file 50"), strict=True):
        (place / name).write_text(f"{content}\n")


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


@pytest.mark.parametrize(("version", "line"), [("v2", "0::{}"), ("v1", "0::/elsewhere\n4:cpu,memory:{}")])
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param({"": "max", "job": 9000, "job/step": "max"}, 8000, id="a parent has the limit"),
        pytest.param({"": 9000, "job": 5000, "job/step": 7000}, 4000, id="the smallest of three limits"),
        pytest.param({"": 9000}, 8000, id="in a container whose groups have other names outside"),
    ],
)
def test_each_group_above_that_of_the_process_may_limit_its_memory(tmp_path, version, line, limits, expected):
    for group, most in limits.items():
        _write(tmp_path / "groups", version, most, 1096, 96, group)
    (tmp_path / "own").write_text(f"9:pids:/other\n{line.format('/job/step')}\n")
    assert free_memory(CPU, tmp_path / "groups", tmp_path / "own") == expected
