"""How many processes a training can have on this machine."""

from __future__ import annotations

import socket

from tasks.models.device import Device
from tasks.storage.errors import PermanentError


class NoGpu(PermanentError):
    """A GPU is asked for, and there is none."""


def count_processes(device: Device, processes: int) -> int:
    """One process per GPU; on a CPU as many as were asked for.

    Args:
        device: Where it is to be trained.
        processes: How many; 0 for one per GPU.

    Raises:
        NoGpu: There is none here, or there are fewer.
        PermanentError: The number is none.
    """
    if processes < 0:
        raise PermanentError(f"processes={processes} is no number of processes. Give 0 for one per GPU.")
    if device == "cpu":
        return processes or 1
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not there:
        raise NoGpu(
            f"There is no GPU that torch {torch.__version__} can use on {socket.gethostname()}. Start a worker of the pool "
            'gpu on a machine that has one (`nvidia-smi` lists it), or set device="cpu", which is for toy models.'
        )
    if processes > there:
        raise NoGpu(f"processes={processes}, and {socket.gethostname()} has {there} GPUs. Give 0 for all of them.")
    return processes or there
