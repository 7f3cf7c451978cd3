"""Exact scores of all answers against writing one, on the same model in one run.

``python -m bench.scoring`` builds a PaliGemma 2 with random weights and Gemma's vocabulary, and asks it about the same rows
in each way. The predecessor wrote up to 64 tokens, row by row. Random weights never end an answer, so writing is also
cut at the mean length of the answers: the least that a trained model would need. Pictures are already tensors.

Then a training step with the logits of the answers alone (``logits_to_keep``), and with those of all tokens.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from bench.gpu import (
    LABELS,
    MAX_NEW_TOKENS,
    PROMPT_TOKENS,
    SHAPES,
    build,
    conditions,
    matmul_rate,
    noise,
    training,
    words,
)
from tasks.models.families.protocol import Family
from tasks.models.generate import generate
from tasks.models.tree import AnswerTree, score, self_check


def main() -> None:
    """Print one line per way, each with its ratio to the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="85m")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="of training, by turns with and without all logits")
    parser.add_argument("--train-batch", type=int, default=4)
    parser.add_argument("--only", choices=("asking", "training"), nargs="+", default=["asking", "training"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    device, shape = torch.device("cpu"), SHAPES[options.shape]
    model, family = build(shape, device, torch.float32)
    tree = AnswerTree(LABELS, family)
    conditions(model, family, tree, device, matmul_rate(device, 1024))
    text, images = words(family, PROMPT_TOKENS), noise(shape.image, options.rows)
    print(f"Self-check in float32: {self_check(model, family, ['', text], images[:2], tree):.2g}")
    if "asking" in options.only:
        _asking(model, family, tree, text, images)
    if "training" in options.only:
        _training(model, family, tree, shape.image, options)


def _asking(model: Any, family: Family, tree: AnswerTree, text: str, images: list[Image.Image]) -> None:
    rows = len(images)
    together = family.inputs([text] * rows, images)
    alone = [family.inputs([text], [image]) for image in images]
    mean = round(sum(map(len, tree.sequences)) / len(tree.sequences))

    def one_by_one(way: Callable[[dict[str, Tensor]], object]) -> None:
        for row in alone:
            way(row)

    def written(most: int) -> Callable[[dict[str, Tensor]], object]:
        return partial(generate, model, family, max_new_tokens=most)

    scored = partial(score, model, family, tree=tree)
    ways: dict[str, Callable[[], object]] = {
        f"one by one, writes {MAX_NEW_TOKENS} (the predecessor's way)": lambda: one_by_one(written(MAX_NEW_TOKENS)),
        f"one by one, writes {mean}": lambda: one_by_one(written(mean)),
        f"batch of {rows}, writes {MAX_NEW_TOKENS}": lambda: written(MAX_NEW_TOKENS)(together),
        f"batch of {rows}, writes {mean}": lambda: written(mean)(together),
        "one by one, exact scores": lambda: one_by_one(scored),
        f"batch of {rows}, exact scores": lambda: scored(together),
    }
    scored(alone[0])
    load = f"{rows} rows, load {os.getloadavg()[0]:.1f}"
    print(f"\n| {load} | CPU s/row | s/row | times the first, by CPU |\n{'|---' * 4}|")
    first = None
    for name, way in ways.items():
        began, worked = time.perf_counter(), time.process_time()
        way()
        cpu = (time.process_time() - worked) / rows
        first = first or cpu
        passed = (time.perf_counter() - began) / rows
        print(f"| {name} | {cpu:.2f} | {passed:.2f} | {first / cpu:.1f} |", flush=True)


def _training(model: Any, family: Family, tree: AnswerTree, side: int, options: argparse.Namespace) -> None:
    batch = options.train_batch
    step, read, kept, _ = training(model, family, tree, batch, side)
    ways = {f"logits of {kept} tokens a row": kept, f"logits of all {read} tokens": 0}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    peak: dict[str, float] = {}
    for _ in range(options.steps + 1):  # the first step of each does not count
        for name, keep in ways.items():
            worked = time.process_time()
            step(keep)
            cpu[name].append(time.process_time() - worked)
            peak.setdefault(name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
    print(f"\n| training step, batch of {batch}, load {os.getloadavg()[0]:.1f} | CPU s/row | peak GB |\n{'|---' * 3}|")
    for name, seconds in cpu.items():
        told = ", ".join(f"{each / batch:.2f}" for each in seconds[1:])
        print(f"| {name} | {told} | {peak[name]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
