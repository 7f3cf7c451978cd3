"""A small MMHS150K of invented tweets, as a folder or as a zip."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

ENTRIES: dict[str, Any] = {
    "101": {"tweet_text": "Look at this ñandú", "labels": [0, 0, 0], "img_url": "http://example.org/101.jpg"},
    "102": {
        "tweet_text": "@nobody robots are all alike",
        "labels": [4, 1, 0],
        "labels_str": ["Religion", "Racist", "NotHate"],
    },
    "103": {"tweet_text": "toasters cannot drive", "labels": [2, 2, 0]},
    "104": {"tweet_text": "", "labels": [1, 2, 3]},
    "105": {"tweet_text": "no split names me", "labels": [5, 5, 5]},
}
SPLITS = {"train": ["101", "102"], "val": ["103"], "test": ["104"]}
OCR = {"102": "WHEN YOU ARE A ROBOT"}


def files(entries: dict[str, Any] | None = None, images: bool = True) -> dict[str, bytes]:
    """The data set's files by name."""
    entries = ENTRIES if entries is None else entries
    made = {"MMHS150K_GT.json": json.dumps(entries).encode()}
    made |= {f"splits/{split}_ids.txt": "".join(f"{id_}\n" for id_ in ids).encode() for split, ids in SPLITS.items()}
    made |= {f"img_txt/{id_}.json": json.dumps({"img_text": text}).encode() for id_, text in OCR.items()}
    if images:
        made |= {f"img_resized/{id_}.jpg": b"\xff\xd8 a picture" for id_ in entries}
    return made


def as_folder(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def as_zip(path: Path, content: dict[str, bytes], under: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(under + name, data)
    return path
