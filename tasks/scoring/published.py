"""Figures that others have published for the test split of MMHS150K, shown beside ours and labelled as published.

They were not made by us and cannot be paired with our rows, so they have no interval.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.scoring.predictions import Predictions

# How often each label is true in the 10,000 rows of that split, if one of three annotators suffices.
_SHARES = {"racist": 0.392, "sexist": 0.178, "homophobe": 0.127, "religion": 0.023, "otherhate": 0.241}
_ROWS = range(9_900, 10_001)  # a few images may be missing


@dataclass(frozen=True, slots=True)
class Published:
    """One published result."""

    name: str
    how: str
    f1_micro: float
    f1_macro: float
    auroc: float | None = None


MMHS_TEST = (
    Published("Qwen2-VL 2B, LoRA", "as it writes, by its authors", 0.61096, 0.49917),
    Published("PaliGemma 2 3B, LoRA", "as it writes, by its authors", 0.54041, 0.48960),
    Published(
        "CLIP ViT-B/32, multi-task", "thresholds per label from validation, by its authors", 0.6442, 0.5690, 0.7832
    ),
)


def published_for(split: str, predictions: Predictions) -> tuple[Published, ...]:
    """What was published for just these rows; nothing for any other.

    Args:
        split: Its name.
        predictions: Of any model for it, whose labels tell what it is.
    """
    shares = dict(zip(predictions.space.labels, predictions.true_labels.mean(axis=0), strict=True))
    if split != "test" or shares.keys() != _SHARES.keys() or len(predictions) not in _ROWS:
        return ()
    return MMHS_TEST if all(abs(shares[label] - share) < 0.005 for label, share in _SHARES.items()) else ()
