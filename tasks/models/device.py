"""Where a model is computed; said without torch, so that flows may name it."""

from __future__ import annotations

from typing import Literal

Device = Literal["cuda", "cpu"]
