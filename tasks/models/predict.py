"""What a model answers to the rows of a split.

A row of ``PREDICTIONS``, scored over the sets ``[]  ["racist"]  ["sexist"]  ["racist", "sexist"]``::

    {"row": 17, "id": "1023…", "group": "9c01…", "labels": ["sexist"], "answer": ["sexist"], "valid": 0.998,
     "log_probabilities": [-1.61, -5.3, -0.25, -4.0], "generated": None, "error": None, "message": None}
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image

from tasks.models.examples import Example, open_image
from tasks.models.generate import generate
from tasks.models.label_sets import LabelSets, UnknownLabel
from tasks.models.load import Loaded, ModelOptions, load
from tasks.models.prompts import Prompt
from tasks.models.tree import AnswerTree, PromptTooLong, score, self_check
from tasks.pictures.decode import BadImage
from tasks.storage.errors import PermanentError

Mode = Literal["score", "generate"]
LookAt = Literal["both", "text", "image"]
Warn = Callable[[str], object]

MAX_NEW_TOKENS = 64
GREY = Image.new("RGB", (224, 224), (128, 128, 128))
_LOG = logging.getLogger("trasvase")
_OPENERS = 4  # threads that decode the next batch's images meanwhile


class BatchTooLarge(PermanentError):
    """Not even one row fits."""


class Classifier:
    """A model that is asked for one of some sets of labels.

    Args:
        loaded: The model.
        label_sets: The allowed answers.
        prompt: The question, as the model was loaded with.
        options: What it was loaded by.
        batch: Rows at once.
        max_new_tokens: Where a text that it writes is cut; never before the longest allowed answer ends.

    Attributes:
        name: Everything that an answer depends on but the row: part of keys and reports.
        sees: Whether it takes images.
    """

    def __init__(
        self,
        loaded: Loaded,
        label_sets: LabelSets,
        prompt: Prompt,
        options: ModelOptions,
        batch: int,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> None:
        self.label_sets, self.batch, self.toy = label_sets, batch, loaded.toy
        self.sees = loaded.family.sees
        self.tree = AnswerTree(label_sets, loaded.family)
        self._most = max(max_new_tokens, self.tree.longest)
        self._model, self._family = loaded.model, loaded.family
        budget = loaded.record or options
        self.name = " ".join(
            [
                loaded.family.name,
                loaded.digest[:12] + (f"+{loaded.record.digest[:12]}" if loaded.record else ""),
                prompt.key,
                options.dtype + ("-nf4" if options.load_in_4bit else ""),
                f"pixels-{budget.min_pixels or ''}-{budget.max_pixels or ''}",
                f"transformers-{transformers.__version__}",  # one version caps the logits of Gemma 2, another does not
            ]
        )

    def score(self, texts: Sequence[str], images: Sequence[Image.Image | None]) -> NDArray[np.float64]:
        """Log-probabilities of all sets, ``[B, S]``.

        Raises:
            PromptTooLong: Some prompts do not fit into the model.
            PermanentError: The model computes no numbers.
        """
        found = score(self._model, self._family, self._family.inputs(texts, images), self.tree).numpy()
        if not np.isfinite(found).all():
            raise PermanentError(
                f"{self._family.name} computes no numbers from these rows. Take dtype=bfloat16: float16 overflows."
            )
        return cast(NDArray[np.float64], found)

    def generate(self, texts: Sequence[str], images: Sequence[Image.Image | None]) -> list[str]:
        """What the model writes, the likeliest token each time; the prompt is not part of it.

        Raises:
            PromptTooLong: Some prompts do not fit into the model.
        """
        return generate(self._model, self._family, self._family.inputs(texts, images), self._most)

    def parse(self, text: str) -> tuple[str, ...] | None:
        """Read an answer: one JSON array of known labels that is an allowed set, and nothing around it.

        Returns:
            The labels in their own order; None where it is anything else, which is a failure and no empty set.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
            return None
        try:
            number = self.label_sets.number(found)
        except UnknownLabel:
            return None
        return self.label_sets.sets[number] if len(found) == len(set(found)) else None

    def self_check(self) -> float:
        """Score two rows both ways, as ``tree.self_check`` does.

        Raises:
            ScorerDisagrees: The scores cannot be believed.
        """
        images = [GREY, GREY.resize((224, 112))] if self.sees else [None, None]
        return self_check(self._model, self._family, ["", "Two rows of different length."], images, self.tree)

    def halve(self) -> str:
        """Take half as many rows at once from now on.

        Returns:
            What to tell the user.

        Raises:
            BatchTooLarge: It is one row already.
        """
        if self.batch == 1:
            raise BatchTooLarge(
                "The GPU has no room for a single row. Take a larger GPU; or set load_in_4bit or a smaller max_pixels, "
                "of an adapter when it is trained."
            )
        before, self.batch = self.batch, self.batch // 2
        return f"The GPU had no room for {before} rows at once: going on with {self.batch}."


def open_classifier(options: ModelOptions, label_sets: LabelSets, prompt: Prompt, batch: int) -> Classifier:
    """Load a model and check its scores.

    Args:
        options: Which model.
        label_sets: The allowed answers.
        prompt: The question; of an adapter's record where there is one.
        batch: Rows at once.

    Raises:
        PermanentError: See ``load``.
        ScorerDisagrees: Its scores cannot be believed.
    """
    classifier = Classifier(load(options, prompt), label_sets, prompt, options, batch)
    classifier.self_check()
    return classifier


class _Asked(NamedTuple):
    example: Example
    text: str
    image: Image.Image | None


def predict_rows(
    examples: Sequence[Example],
    images: Path,
    classifier: Classifier,
    mode: Mode = "score",
    look_at: LookAt = "both",
    warn: Warn = _LOG.warning,
) -> list[dict[str, Any]]:
    """Ask the classifier about a chunk of rows.

    Rows of like length are asked together. An ablation changes what the model sees and nothing else: with ``text`` a
    model that must have an image sees a plain grey one, with ``image`` the text is empty. Images that cannot be read are
    rejected in all three, so that the same rows are compared.

    Args:
        examples: The rows.
        images: The folder that their images lie below.
        classifier: Who is asked; its batch is halved until the GPU has room for it.
        mode: ``score`` all sets, or ``generate`` and parse.
        look_at: What the model sees of a row.
        warn: Told when the batch is halved.

    Returns:
        Rows of ``PREDICTIONS``, in the order of the examples; one that was refused has ``error`` and ``message``.

    Raises:
        BatchTooLarge: Not even one row fits.
        PermanentError: ``look_at`` is ``image`` and the model takes none.
    """
    if look_at == "image" and not classifier.sees:
        raise PermanentError("This model takes no images, so it cannot look at the image alone. Take look_at=both.")
    order = sorted(range(len(examples)), key=lambda at: len(examples[at].text))
    rows: dict[int, dict[str, Any]] = {}
    batches = [order[start : start + classifier.batch] for start in range(0, len(order), classifier.batch)]
    looks = _looked(batches, lambda at: _look(examples[at], images, classifier, look_at))
    for batch, seen in zip(batches, looks, strict=True):
        asked = [look for look in seen if isinstance(look, _Asked)]
        answers = iter(_ask(asked, classifier, mode, warn))
        for at, look in zip(batch, seen, strict=True):
            example = examples[at]
            rows[at] = {
                "row": example.row,
                "id": example.id,
                "group": example.group,
                "labels": None if example.labels is None else list(example.labels),
                "log_probabilities": None,
                "valid": None,
                "answer": None,
                "generated": None,
                "error": None,
                "message": None,
                **(next(answers) if isinstance(look, _Asked) else {"error": look.code, "message": str(look)}),
            }
    return [rows[at] for at in range(len(examples))]


def _looked(
    batches: Sequence[Sequence[int]], look: Callable[[int], _Asked | BadImage]
) -> Iterator[list[_Asked | BadImage]]:
    """Each batch's images, the next one's being decoded meanwhile; never more than two batches of them in memory."""
    with ThreadPoolExecutor(_OPENERS) as pool:
        ahead = [pool.submit(look, at) for at in batches[0]] if batches else []
        for following in [*batches[1:], []] if batches else []:
            now, ahead = ahead, [pool.submit(look, at) for at in following]
            yield [each.result() for each in now]


def _look(example: Example, folder: Path, classifier: Classifier, look_at: LookAt) -> _Asked | BadImage:
    text = "" if look_at == "image" else example.text
    if not classifier.sees:
        return _Asked(example, text, None)
    if look_at == "text" and not example.image:
        return _Asked(example, text, GREY)
    try:
        image = open_image(folder, example)
    except BadImage as error:
        return error
    return _Asked(example, text, GREY if look_at == "text" else image)


def _ask(asked: Sequence[_Asked], classifier: Classifier, mode: Mode, warn: Warn) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    while len(answers) < len(asked):
        some = asked[len(answers) : len(answers) + classifier.batch]
        try:
            answers += _answers(some, classifier, mode)
        except torch.OutOfMemoryError:
            warn(classifier.halve())
        else:
            continue
        torch.cuda.empty_cache()  # here, where the exception no longer holds the tensors
    return answers


def _answers(some: Sequence[_Asked], classifier: Classifier, mode: Mode) -> list[dict[str, Any]]:
    if not some:
        return []
    texts, images = [each.text for each in some], [each.image for each in some]
    try:
        if mode == "generate":
            return [_written(text, classifier) for text in classifier.generate(texts, images)]
        return [_scored(row, classifier) for row in classifier.score(texts, images)]
    except PromptTooLong as error:
        others = iter(_answers([each for at, each in enumerate(some) if at not in error.at], classifier, mode))
        return [
            {"error": "too-long", "message": f"Row {each.example.row} {error}"} if at in error.at else next(others)
            for at, each in enumerate(some)
        ]


def _scored(scores: NDArray[np.float64], classifier: Classifier) -> dict[str, Any]:
    return {
        "log_probabilities": scores.tolist(),
        "valid": float(np.exp(scores).sum()),
        "answer": list(classifier.label_sets.sets[int(scores.argmax())]),
    }


def _written(text: str, classifier: Classifier) -> dict[str, Any]:
    parsed = classifier.parse(text)
    return {"generated": text, "answer": None if parsed is None else list(parsed)}
