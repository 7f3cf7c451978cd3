"""The names of splits, and which one a foreign file means.

>>> split_of("val.csv"), split_of("test-00000-of-00002.parquet"), split_of("dev_seen"), split_of("notes")
('validation', 'test', 'validation', None)
"""

from __future__ import annotations

import re

SPLITS = ("train", "validation", "test")

_NAMES = {"train": "train", "training": "train", "test": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev", "eval"), "validation"
)


def split_in(name: str) -> str | None:
    """The split that a word anywhere in a foreign file's or folder's name means: ``mmhs_train.csv``."""
    return next((_NAMES[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _NAMES), None)


def split_of(name: str) -> str | None:
    """The split that a file's name, or a value of a column, means; None when it means none."""
    return _NAMES.get(re.split(r"[^a-z]", name.lower(), maxsplit=1)[0])
