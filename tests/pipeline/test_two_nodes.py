"""A run by torchrun on two nodes: two network namespaces with a cable between them and one shared folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stages
import together

ADDRESSES = ("10.231.0.1", "10.231.0.2")
CABLE = "cable"

pytestmark = pytest.mark.skipif(
    shutil.which("ip") is None or os.geteuid() != 0, reason="network namespaces need root and the command ip (iproute2)"
)


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True, capture_output=True)


@pytest.fixture
def nodes() -> Iterator[tuple[str, str]]:
    """Make two namespaces of the network that only reach each other; return their names."""
    names = (f"leaf{os.getpid()}a", f"leaf{os.getpid()}b")
    try:
        for name in names:
            _ip(f"netns add {name}")
        _ip(f"link add {CABLE} netns {names[0]} type veth peer name {CABLE} netns {names[1]}")
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip(f"-n {name} addr add {address}/24 dev {CABLE}")
            _ip(f"-n {name} link set {CABLE} up")
            _ip(f"-n {name} link set lo up")
        yield names
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not available: {error.stderr.decode().strip()}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def recipe(tmp_path: Path, tiny_teacher_folder: Path) -> Path:
    """Write a recipe of 200 short texts; return its file."""
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"{'abcdefghij'[row % 10]} {row} {'cd ' * (row % 7)}\n" for row in range(200)))
    path = tmp_path / "nodes.py"
    path.write_text(
        f"""from leaf_st.recipe import Recipe, StudentSpec, TeacherSpec, TextsSpec, TrainingSpec

arguments = {{"per_device_train_batch_size": 8, "num_train_epochs": 1, "use_cpu": True, "bf16": False}}
recipe = Recipe(
    name="nodes",
    texts=TextsSpec(source={str(texts)!r}),
    teacher=TeacherSpec(model={str(tiny_teacher_folder)!r}, precision="float32"),
    student=StudentSpec(layers=(0, 2)),
    training=TrainingSpec(held_out_rows=20, arguments=arguments),
)
"""
    )
    return path


def _torchrun(recipe: Path, run: Path, rank: int, namespace: str) -> subprocess.Popen[str]:
    place = ["--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(rank)]
    place += ["--master-addr", ADDRESSES[0], "--master-port", "29500"]
    prefix = ["ip", "netns", "exec", namespace, sys.executable, "-m", "torch.distributed.run", *place]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": CABLE}
    return subprocess.Popen(
        [*prefix, "-m", "leaf_st", "run", str(recipe), "--output", str(run)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_nodes_train_what_two_processes_of_one_node_do(
    nodes: tuple[str, str], recipe: Path, tmp_path: Path
) -> None:
    apart, one = tmp_path / "apart", tmp_path / "one"
    processes = [_torchrun(recipe, apart, rank, namespace) for rank, namespace in enumerate(nodes)]
    try:
        outputs = [process.communicate(timeout=400)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    assert together.join(together.start(2, stages.embed_and_train, str(recipe), str(one))) == [0, 0]
    weights = [path.relative_to(one) for path in (one / "model").rglob("*.safetensors")]
    assert len(weights) == 2
    assert all((apart / path).read_bytes() == (one / path).read_bytes() for path in weights)
