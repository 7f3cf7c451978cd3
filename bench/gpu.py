"""Scoring, writing and training of a PaliGemma 2 with the true 3B's shape and random weights.

``python -m bench.gpu`` wants torch, transformers and peft and nothing else, so that it runs on a bare machine with a GPU;
``--shape tiny --device cpu`` tries it without one. Random weights compute as fast as trained ones, but never end an
answer: *writing* is given once with the predecessor's 64 tokens, which is what that costs, and once cut at the mean
length of the answers, which is what a trained model would need.

FLOP are those of the weights' multiplications (attention's own are left out), and the bound is what this machine
multiplies in bfloat16, measured in the same run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

from data.samples import toy_models
from tasks.models.families import make_family
from tasks.models.families.protocol import Family
from tasks.models.generate import generate
from tasks.models.label_sets import LabelSets
from tasks.models.prompts import Prompt
from tasks.models.tree import AnswerTree, score, self_check

LABELS = LabelSets.every(["racist", "sexist", "homophobe", "religion", "otherhate"])
PROMPT_TOKENS = 100  # of text, behind the image's: 356 in all at 224 pixels, as the predecessor's mean
MAX_NEW_TOKENS = 64
VOCABULARY = 257_216
ATTENTION = {"text_config": "eager", "vision_config": "sdpa"}  # as load.py has it: Gemma 2 caps attention's logits

# Published by the predecessor: teacher forcing and generate(64) in batches of 24, nf4, on an A100.
PREDECESSOR = 10.914


@dataclass(frozen=True)
class Shape:
    """Sizes of a PaliGemma 2: text tower, vision tower, image."""

    hidden: int
    inner: int
    layers: int
    heads: int
    vision_hidden: int
    vision_inner: int
    vision_layers: int
    vision_heads: int
    image: int
    patch: int


SHAPES = {
    "3b": Shape(2304, 9216, 26, 8, 1152, 4304, 27, 16, 224, 14),
    "85m": Shape(256, 1024, 8, 4, 256, 1024, 8, 4, 224, 14),
    "tiny": Shape(64, 128, 2, 2, 32, 64, 2, 2, 56, 14),
}


def main() -> None:
    """Print one table for scoring and writing, one for training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="3b")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 24, 64])
    parser.add_argument("--train-batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0, help="the least time of each measurement")
    options = parser.parse_args()
    device = torch.device(options.device)
    model, family = build(SHAPES[options.shape], device, torch.bfloat16)
    tree = AnswerTree(LABELS, family)
    bound = matmul_rate(device, 8192 if device.type == "cuda" else 1024)
    conditions(model, family, tree, device, bound)
    images = noise(SHAPES[options.shape].image, 2)
    difference = self_check(model, family, ["", words(family, PROMPT_TOKENS)], images, tree)
    print(f"Self-check in bfloat16: the largest difference of a log-probability is {difference:.2g}\n")
    _asking(model, family, tree, bound, options)
    _training(model, family, tree, bound, options)


def build(shape: Shape, device: torch.device, dtype: torch.dtype) -> tuple[Any, Family]:
    """A model of this shape with random weights, made where it is used, and its family."""
    from transformers import AutoModelForImageTextToText, Gemma2Config, PaliGemmaConfig, SiglipVisionConfig

    processor = toy_models.paligemma_processor(shape.image, shape.patch)
    tokenizer = processor.tokenizer
    text = Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 2,
        head_dim=256,
        query_pre_attn_scalar=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = SiglipVisionConfig(
        hidden_size=shape.vision_hidden,
        intermediate_size=shape.vision_inner,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=shape.vision_heads,
        image_size=shape.image,
        patch_size=shape.patch,
        vision_use_head=False,
    )
    config: Any = PaliGemmaConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=shape.hidden,
        hidden_size=shape.hidden,
        image_token_index=processor.image_token_id,
    )
    kind: Any = AutoModelForImageTextToText
    torch.manual_seed(0)
    with device:
        model = kind.from_config(config, dtype=dtype, attn_implementation=ATTENTION).eval()
    prompt = Prompt("bench/1", f"Which of {LABELS.answer(31)} apply? Answer with a JSON array.")
    return model, make_family("paligemma", processor, prompt)


def noise(side: int, rows: int) -> list[Image.Image]:
    """Images."""
    pixels = np.random.default_rng(0).integers(0, 256, (rows, side, side, 3), np.uint8)
    return [Image.fromarray(each) for each in pixels]


def words(family: Family, tokens: int) -> str:
    """A text that brings a prompt to this many tokens beside the image's."""
    image = noise(32, 1)[0]
    rest = family.processor.image_seq_length
    text = ""
    while family.inputs([text], [image])["input_ids"].shape[1] - rest < tokens:
        text += " a"
    return text


def flop(model: Any, family: Family, rows: int, read: int, predicted: int) -> float:
    """Floating-point operations of one forward: each row's image, the tokens it reads, and those it predicts after."""
    count = {"vision": 0, "projector": 0, "text": 0}
    for name, weight in model.named_parameters():
        if "lora" not in name and "embed" not in name and "lm_head" not in name:
            tower = "vision" if "vision" in name else "projector" if "projector" in name else "text"
            count[tower] += weight.numel()
    seen = family.processor.image_seq_length
    head: int = model.config.get_text_config().hidden_size * VOCABULARY
    total: float = 2 * rows * (seen * (count["vision"] + count["projector"]) + read * count["text"] + predicted * head)
    return total


def seconds_of(work: Callable[[], object], device: torch.device, least: float) -> float:
    """The mean time of a run, after one that does not count."""

    def synchronized() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    work()
    began, runs = synchronized(), 0
    while True:
        work()
        runs += 1
        passed = synchronized() - began
        if passed >= least:
            return passed / runs


def matmul_rate(device: torch.device, side: int) -> float:
    """Floating-point operations a second of a large product in bfloat16."""
    first, second = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: first @ second, device, 1.0)


def conditions(model: Any, family: Family, tree: AnswerTree, device: torch.device, bound: float) -> None:
    """Print what was measured on."""
    import peft
    import transformers

    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    towers = (model.config.text_config, model.config.vision_config)
    attention = " and ".join(tower._attn_implementation for tower in towers)  # noqa: SLF001
    print(
        f"PaliGemma 2 with {sum(weight.numel() for weight in model.parameters()):,} random weights in {model.dtype}, "
        f"{family.processor.image_seq_length} image tokens and {PROMPT_TOKENS} of text; {len(tree.sequences)} answers, "
        f"{len(tree.tokens)} tokens in their tree\n{where}, {bound / 1e12:.3g} TFLOP/s in a large product; attention "
        f"{attention}; torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}\n"
    )


def _asking(model: Any, family: Family, tree: AnswerTree, bound: float, options: argparse.Namespace) -> None:
    mean = round(sum(map(len, tree.sequences)) / len(tree.sequences))
    text, side = words(family, PROMPT_TOKENS), SHAPES[options.shape].image
    print(f"| | batch | samples/s | TFLOP/s | share of the bound | peak GB |\n{'|---' * 6}|")
    print(f"| predecessor, published (A100, nf4, writes 64) | 24 | {PREDECESSOR} | | | |")
    for batch in options.batches:
        inputs = family.inputs([text] * batch, noise(side, batch))
        read, nodes = inputs["input_ids"].shape[1], len(tree.tokens)
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        scored = flop(model, family, batch, read + nodes, 1 + nodes)
        _row("exact scores of all answers", batch, partial(score, model, family, inputs, tree), scored, bound, options)
        for most in (mean, MAX_NEW_TOKENS):
            written = flop(model, family, batch, read + most, most)
            _row(
                f"writes {most} tokens",
                batch,
                partial(generate, model, family, inputs, most),
                written,
                bound,
                options,
            )
    batch = max(options.batches)
    texts, images = [text] * batch, noise(side, batch)
    passed = seconds_of(lambda: family.inputs(texts, images), torch.device("cpu"), 1.0)
    print(f"\nProcessor, on {torch.get_num_threads()} CPU threads, decoded images: {batch / passed:.1f} samples/s\n")


def _training(model: Any, family: Family, tree: AnswerTree, bound: float, options: argparse.Namespace) -> None:
    batch = options.train_batch
    step, read, kept, trained = training(model, family, tree, batch, SHAPES[options.shape].image)
    print(
        f"LoRA r=4 on the language tower, {trained:,} weights, AdamW, no checkpointing\n\n"
        f"| training step | batch | samples/s | TFLOP/s | share of the bound | peak GB |\n{'|---' * 6}|"
    )
    for name, keep in (("logits of the answers alone", kept), ("logits of all tokens", 0)):
        # Forwards of both towers, and once more backwards through the text tower: the base's weights get no gradient.
        base = flop(model, family, batch, read, keep or read)
        done = 2 * base - flop(model, family, batch, 0, 0)
        _row(name, batch, partial(step, keep), done, bound, options)


def training(
    model: Any, family: Family, tree: AnswerTree, batch: int, side: int
) -> tuple[Callable[[int], None], int, int, int]:
    """A LoRA on the language tower, and one batch for it.

    Args:
        model: Gets the adapter.
        family: Its family.
        tree: The answers, which the rows have by turns.
        batch: Rows.
        side: Of their images.

    Returns:
        A step of training by how many logits are kept, 0 for all; tokens of a row; logits that the loss needs; and how many
        weights are trained.
    """
    from peft import LoraConfig, get_peft_model

    prompts = family.inputs([words(family, PROMPT_TOKENS)] * batch, noise(side, batch))
    inputs, answers = answered(family, prompts, [tree.sequences[row % len(tree.sequences)] for row in range(batch)])
    inputs = {name: value.to(model.device) for name, value in inputs.items()}
    answers = answers.to(model.device)
    adapted = get_peft_model(
        model, LoraConfig(r=4, lora_alpha=32, lora_dropout=0.05, target_modules=family.target_modules)
    ).train()
    weights = [weight for weight in adapted.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-4)
    kept = answers.shape[1] + 1

    def step(keep: int) -> None:
        logits = adapted(**inputs, logits_to_keep=keep).logits[:, -kept:-1].float()
        loss = cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=-100)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step, inputs["input_ids"].shape[1], kept, sum(map(torch.numel, weights))


def answered(
    family: Family, prompts: dict[str, Tensor], answers: Sequence[list[int]]
) -> tuple[dict[str, Tensor], Tensor]:
    """Prompts with answers behind them, and the answers ``[B, K]`` with -100 where they have ended."""
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(each) for each in answers], True, -100)
    mask = tokens >= 0
    return family.extended(prompts, tokens.masked_fill(~mask, 0), mask), tokens


def _row(
    name: str, batch: int, work: Callable[[], object], done: float, bound: float, options: argparse.Namespace
) -> None:
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        passed = seconds_of(work, device, options.seconds)
    except torch.OutOfMemoryError:
        print(f"| {name} | {batch} | out of memory | | | |", flush=True)
        return
    peak = f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if device.type == "cuda" else ""
    rate = done / passed
    print(
        f"| {name} | {batch} | {batch / passed:.3g} | {rate / 1e12:.3g} | {rate / bound:.1%} | {peak} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
