"""Let torchvision load beside a torch without CUDA, before transformers or EasyOCR look for it."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

_operators: list[Any] = []  # alive as long as torch


def let_torchvision_load() -> None:
    """Name two operators that a torchvision built for CUDA cannot register beside a torch built for the CPU.

    Its import ends with "operator torchvision::nms does not exist" otherwise, and transformers then says of other
    modules that they are missing. Nothing here calls them.
    """
    if torch.version.cuda is None and not _operators and importlib.util.find_spec("torchvision"):
        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            _operators.append(library)
            for name in ("nms", "qnms"):
                library.define(  # type: ignore[no-untyped-call]
                    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
