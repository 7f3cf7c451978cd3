"""One chunk: what a model is asked, and what its answers look like.

A chunk's file holds every image of the chunk; those that cannot be opened have ``error`` and ``message``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tasks.storage.schemas import CLIP_ANSWERS, VLM_ANSWERS
from tasks.zeroshot.plan import CLIP, VLM

VERSION = "1"
SHAPES = {VLM: VLM_ANSWERS, CLIP: CLIP_ANSWERS}


class Model(Protocol):
    """What is asked of either model."""

    def answer(self, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
        """The finished rows of a chunk.

        Args:
            rows: Rows of ``MEMES_TO_CLASSIFY``.
            folder: What their paths are below.

        Raises:
            ImageChanged: An image is gone, or is another one than at the plan.
        """
