"""Readers of text on memes, against what a person read.

``python -m bench.memes FOLDER`` wants a folder with ``manifest.csv`` (columns ``file`` and ``visible_text_unverified``)
and the images that it names. Words are runs of letters and digits, case-folded, counted as often as they stand there;
time is that of one process on one core, decoding and hashing included, without the start of the reader.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import platform
import re
import resource
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.memes.chunk import read_images
from tasks.memes.readers import module_of, names
from tasks.settings import read_options
from tasks.storage.errors import PermanentError

_WORD = re.compile(r"[^\W_]+")


def main() -> None:
    """Print one line per reader, then what it read where it erred."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--readers", nargs="+", default=names())
    parser.add_argument("--languages", nargs="+", default=["ru", "en"])
    parser.add_argument("--errors", action="store_true", help="show what was read where it is not what a person read")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with (options.folder / "manifest.csv").open(encoding="utf-8-sig", newline="") as file:
        truth = {row["file"]: row["visible_text_unverified"] for row in csv.DictReader(file)}
    rows = [_row(number, options.folder, path) for number, path in enumerate(truth)]
    textless = sum(not text.strip() for text in truth.values())
    print(
        f"{len(rows)} images, {textless} of them without text, {_words(truth.values()).total()} words; "
        f"languages {', '.join(options.languages)}; one core of {platform.processor() or platform.machine()}, "
        f"load {os.getloadavg()[0]:.1f}\n"
    )
    print("| reader | word recall | word precision | nothing invented | CPU s/image | s/image | version |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for name in options.readers:
        _measure(name, rows, truth, options)


def _measure(name: str, rows: Sequence[dict[str, Any]], truth: dict[str, str], options: argparse.Namespace) -> None:
    module = module_of(name)
    try:
        reader = module.open_reader(read_options(name, module.Options), options.languages)
    except PermanentError as error:
        print(f"| {name} | | | | | | not measured: {error} |")
        return
    read_images(rows[:1], options.folder, reader)
    began, worked = time.perf_counter(), _cpu()
    read = read_images(rows, options.folder, reader)
    seconds, cpu = time.perf_counter() - began, _cpu() - worked
    texts = {row["path"]: row.get("text") or "" for row in read}
    right = sum((_words([texts[path]]) & _words([truth[path]])).total() for path in truth)
    given, wanted = _words(texts.values()).total(), _words(truth.values()).total()
    none = [path for path, text in truth.items() if not text.strip()]
    silent = sum(not texts[path] for path in none)
    print(
        f"| {name} | {right / wanted:.3f} | {right / max(given, 1):.3f} | {silent} of {len(none)} | "
        f"{cpu / len(rows):.2f} | {seconds / len(rows):.2f} | {reader.name} |",
        flush=True,
    )
    for path in truth if options.errors else ():
        if _words([truth[path]]) != _words([texts[path]]):
            print(f"    {path}: {truth[path]!r} read as {texts[path]!r}")


def _cpu() -> float:
    """CPU seconds of this process and of the programs it has run."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _row(number: int, folder: Path, path: str) -> dict[str, Any]:
    content = (folder / path).read_bytes()
    return {
        "row": number,
        "path": path,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "label": None,
    }


def _words(texts: Any) -> Counter[str]:
    return Counter(word for text in texts for word in _WORD.findall(text.casefold()))


if __name__ == "__main__":
    main()
