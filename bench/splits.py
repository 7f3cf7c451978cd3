"""Leaks of a random split of rows against ours, and what splitting costs.

    python -m bench.splits TABLE [--group-by image] [--hashes 150000]

The random split is the usual one: rows shuffled, 90 % train, 5 % validation, 5 % test. It is written as CSV and audited by
the same code as `trasvase verify FOLDER --group-by image`. Ours is built from the same table with the same shares, once.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.pictures.near import near_pairs
from tasks.splits.audit import find_files, find_leaks, read_splits
from tasks.splits.build import Wanted, build
from tasks.splits.keys import read_keys

DISTANCE = 6
WHOLE_LLAVA = {
    1: 19_647,
    2: 47_523,
    3: 14_269,
}  # how often an image stands in the 157,500 published rows: how many images


def timed(what: str, act: Callable[[], Any]) -> Any:
    """Do it and say how long it took."""
    start = time.perf_counter()
    result = act()
    print(f"{what}: {time.perf_counter() - start:.1f} s", flush=True)
    return result


def audit_random_rows(values: Sequence[str | None], column: str, seed: int) -> None:
    """Split rows at random, write train.csv, val.csv and test.csv, audit them and print what is found."""
    with tempfile.TemporaryDirectory() as name:
        random_rows(values, column, Path(name), seed)
        for leak in find_leaks(read_splits(find_files(Path(name)), [column]), 0):
            if leak.other == "train":
                print(f"  random rows, seed {seed}: {leak}", flush=True)


def random_rows(rows: Sequence[str | None], column: str, folder: Path, seed: int) -> None:
    """A random split of the rows: files with this one column."""
    values = list(rows)
    random.Random(seed).shuffle(values)
    fifth = len(values) // 20
    for name, some in (("train", values[2 * fifth :]), ("val", values[:fifth]), ("test", values[fifth : 2 * fifth])):
        (folder / f"{name}.csv").write_text("\n".join([column, *map(str, some)]), encoding="utf-8")


def main() -> None:
    """Print the leaks of both, times and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--group-by", default="image")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--hashes", type=int, default=150_000, help="random perceptual hashes to group")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}")
    values = read_keys(options.table, [options.group_by]).values[0]
    print(f"{options.table.name}: {len(values):,} rows, {len(set(values)):,} values of {options.group_by}")
    for seed in range(options.seeds):
        audit_random_rows(values, options.group_by, seed)
    whole = [f"{times}-{n}" for times, images in WHOLE_LLAVA.items() for n in range(images) for _ in range(times)]
    print(f"images as often as in all of the published translation: {len(whole):,} rows, {len(set(whole)):,} images")
    for seed in range(options.seeds):
        audit_random_rows(whole, "image", seed)
    with tempfile.TemporaryDirectory() as name:
        wanted = Wanted((options.group_by,), validation=0.05, test=0.05, official="ignore")
        dataset = timed("build-splits", lambda: build(options.table, Path(name), "bench", wanted))
        counts = {split: (each["rows"], each["groups"]) for split, each in dataset.certificate["splits"].items()}
        print(f"ours: rows and groups {counts}, leaks found {dataset.certificate['leaks']['found']}")
        print(f"expected of a random split, from the groups' sizes: {dataset.certificate['random_split']:.1%}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:,.0f} MB")
    hashes = np.unique(np.random.default_rng(0).integers(0, 2**63, options.hashes, np.uint64))
    pairs = timed(
        f"{len(hashes):,} random hashes within {DISTANCE} bits",
        lambda: sum(len(one) for one, _ in near_pairs(hashes, DISTANCE)),
    )
    print(f"{pairs} pairs")


if __name__ == "__main__":
    main()
