"""Processes that work together as if a launcher had started them."""

import os
import socket

import torch
from forked import CONTEXT


def start(count, function, *arguments):
    """Call ``function`` in ``count`` processes; return them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    told.update(OMP_NUM_THREADS=1, CUDA_VISIBLE_DEVICES="")
    processes = []
    for rank in range(count):
        environment = {key: str(value) for key, value in {**told, "RANK": rank, "LOCAL_RANK": rank}.items()}
        processes.append(CONTEXT.Process(target=_be, args=(environment, function, arguments)))
        processes[-1].start()
    return processes


def join(processes):
    """Wait for all of them; return the exit codes."""
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _be(environment, function, arguments):
    os.environ.update(environment)
    torch.set_num_threads(1)  # as in the tests, or sums would differ in their last bits
    function(*arguments)
