"""What part of an image a processor shows to a model, so that a heat map lies where it belongs.

CLIP's processor makes the shorter side 224 pixels and cuts out the middle: of 1200 x 800 pixels it shows those from 200 to
1000, and a caption at the side is never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.storage.errors import PermanentError


class Box(NamedTuple):
    """Edges in pixels of the upright image; beyond it where the processor adds a border."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Crop:
    """How a processor resizes and cuts.

    Args:
        resized: The shorter side after resizing, or width and height.
        cut: Width and height that are cut out of the middle, or None.
    """

    resized: int | tuple[int, int]
    cut: tuple[int, int] | None

    @classmethod
    def of(cls, processor: Any) -> Crop:
        """How an image processor of transformers does it.

        Raises:
            PermanentError: In another way than CLIP's do.
        """
        size = {name: value for name, value in dict(processor.size or {}).items() if value}
        if not processor.do_resize or set(size) not in ({"shortest_edge"}, {"height", "width"}):
            raise PermanentError(
                f"The image processor resizes to {size}, which is no way of CLIP's: heat maps could not be laid on the "
                "images. Use a CLIP whose preprocessor_config.json has `shortest_edge`, or `height` and `width`."
            )
        cut = dict(processor.crop_size) if processor.do_center_crop else None
        return cls(
            size["shortest_edge"] if "shortest_edge" in size else (size["width"], size["height"]),
            (cut["width"], cut["height"]) if cut else None,
        )

    def box(self, width: int, height: int) -> Box:
        """The part of an image of this size that the model gets."""
        if isinstance(self.resized, int):
            # As transformers rounds: the longer side is cut to a whole number.
            longer = int(self.resized * max(width, height) / min(width, height))
            wide, high = (self.resized, longer) if width <= height else (longer, self.resized)
        else:
            wide, high = self.resized
        left, right = _middle(wide, self.cut[0] if self.cut else wide)
        top, bottom = _middle(high, self.cut[1] if self.cut else high)
        across, down = width / wide, height / high
        return Box(left * across, top * down, right * across, bottom * down)


def _middle(length: int, cut: int) -> tuple[int, int]:
    """Where ``cut`` pixels out of the middle begin and end; below 0 where a border is added."""
    start = int((length - cut) / 2) if length >= cut else -((cut - length) // 2)
    return start, start + cut
