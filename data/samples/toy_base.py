"""A tiny PaliGemma 2 that can see and read a little: the base model of the toy walk, made in half a minute on a CPU.

    python data/samples/toy_base.py data/raw/toy-memes/base

It starts from random weights and learns to answer about invented memes (other ones than in the walk) with every label's
name changed for the next one's. So it knows shapes and words and how an answer is written, and is wrong about all labels
until it is fine-tuned, as a real base model is wrong about a task that it was never told. It is good for nothing else.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import torch
from PIL import Image

from data.samples.toy_memes import LABELS, write_memes
from data.samples.toy_models import paligemma
from tasks.models.families import make_family
from tasks.models.label_sets import LabelSets
from tasks.models.prompts import prompt_for

STEPS, BATCH, RATE = 220, 16, 3e-3
SETS = LabelSets.every(LABELS)
OTHER = dict(zip(LABELS, (*LABELS[1:], LABELS[0]), strict=True))


def make_base(folder: Path, steps: int = STEPS) -> Path:
    """Build the model and train all of it.

    Args:
        folder: Where it is saved as a hub's snapshot is.
        steps: Of training, 16 memes each.
    """
    import transformers as hf

    torch.set_num_threads(1)  # more are slower for a model of this size
    paligemma(folder)
    processor = hf.AutoProcessor.from_pretrained(folder, local_files_only=True)
    model = hf.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    family = make_family("paligemma", processor, prompt_for(SETS))
    answers = [torch.tensor(family.answer_tokens(SETS.answer(number))) for number in range(len(SETS.sets))]
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    schedule = hf.get_linear_schedule_with_warmup(optimizer, 10, steps)
    with tempfile.TemporaryDirectory() as drawn:
        memes = pq.read_table(write_memes(Path(drawn), steps * BATCH, seed=1)).to_pylist()
        model.train()
        for step in range(steps):
            batch = memes[step * BATCH : (step + 1) * BATCH]
            images = [Image.open(Path(drawn) / meme["image"]) for meme in batch]
            inputs = family.inputs([meme["text"] for meme in batch], images)
            said = [answers[SETS.number(OTHER[label] for label in meme["labels"])] for meme in batch]
            tokens = torch.nn.utils.rnn.pad_sequence(said, batch_first=True, padding_value=-100)
            mask = tokens >= 0
            asked = family.extended(inputs, tokens.clamp(min=0), mask)
            logits = model(**asked, logits_to_keep=tokens.shape[1] + 1).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    print(make_base(Path(sys.argv[1])))
