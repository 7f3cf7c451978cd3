"""What a training ran on: versions, machine, device."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tasks.models.device import Device

PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "tokenizers", "trasvase")


def environment(device: Device, processes: int, torch: Any) -> dict[str, str]:
    """Versions of packages by name, and ``python``, ``platform``, ``device``, ``cuda``."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if device == "cuda":
        return {**found, "device": f"{processes} x {torch.cuda.get_device_name()}", "cuda": str(torch.version.cuda)}
    return {**found, "device": f"{processes} x CPU"}
