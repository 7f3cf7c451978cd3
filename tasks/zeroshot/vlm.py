"""A vision-language model as it was published: the class by exact scoring, then, with the class fixed, an explanation.

One meme::

    asked   which of ["toxic", "non_toxic"]?       ["toxic"] 0.81   ["non_toxic"] 0.19   of all else 0.02
    asked   why is it "toxic"?                     «На картинке … , и подпись …»

The explanation is written for the class that was scored, so the two cannot contradict each other and nothing has to be
read out of free text.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from tasks.models.examples import Example
from tasks.models.families import make_family, sees
from tasks.models.label_sets import LabelSets
from tasks.models.load import BadModel, ModelOptions, check_device, find_base, load
from tasks.models.predict import Classifier, predict_rows
from tasks.models.prompts import RUSSIAN_MODERATION, Prompt, prompt_for
from tasks.pictures.decode import read_unchanged
from tasks.zeroshot.chunk import VERSION

_TOKENS = 160  # of an explanation: two sentences in Russian
_BATCH = 4  # memes at once; fewer where the GPU has no room
_NO_TEXT = "(нет)"
_EXPLANATION = Prompt(
    "russian-explanation/1",
    "Вы помогаете модерировать контент. Метки: {labels}. Этому мему дана метка «{label}». Объясните по-русски в одном или "
    "двух предложениях, что на картинке и в тексте на ней говорит за эту метку.",
    RUSSIAN_MODERATION.user,
)


class Vlm:
    """A model that classifies and explains; one thread at a time computes.

    Args:
        classifier: Scores the classes.
        explainers: By class, the same model asked why.
    """

    def __init__(self, classifier: Classifier, explainers: Mapping[str, Classifier]) -> None:
        self._classifier, self._explainers = classifier, explainers
        self._lock = threading.Lock()

    def answer(self, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
        """The finished rows of a chunk; see ``tasks.zeroshot.chunk.Model``."""
        for row in rows:
            read_unchanged(row["row"], folder / row["path"], row["sha256"])
        examples = [
            Example(row["row"], row["sha256"], row["text"] or _NO_TEXT, row["path"], None, row["sha256"])
            for row in rows
        ]
        with self._lock:
            scored = predict_rows(examples, folder, self._classifier)
            by_class: dict[str, list[Example]] = defaultdict(list)
            for example, found in zip(examples, scored, strict=True):
                if found["error"] is None:
                    by_class[found["answer"][0]].append(example)
            explained = {
                written["row"]: written
                for label, some in by_class.items()
                for written in predict_rows(some, folder, self._explainers[label], "generate")
            }
        return [
            {**row, **_columns(found, explained.get(row["row"], {}))} for row, found in zip(rows, scored, strict=True)
        ]


def versions(asked: Mapping[str, Any]) -> dict[str, str]:
    """What decides the answers besides what was asked for; the model is found and looked at, but not loaded.

    Args:
        asked: ``model``, ``device``, ``labels``, ``load_in_4bit`` and ``max_pixels``.

    Raises:
        BadModel: The model is neither a folder nor on the hub, or sees no images.
        NoGpu: ``device`` is cuda and there is none.
        TransientError: The hub does not answer.
    """
    check_device(asked["device"])
    folder, digest, setup = find_base(asked["model"])
    try:
        config = json.loads((folder / "config.json").read_bytes())
        kind = config["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadModel(f"{folder / 'config.json'} names no model type. Download the model again.") from error
    if not sees(kind):
        raise BadModel(f"{folder} is a {kind!r}, which takes no images here. Give `vlm` one such as Qwen2.5-VL.")
    label_sets = LabelSets.one_of(asked["labels"])
    return {
        "code": VERSION,
        "model": digest,
        "setup": setup,
        "prompt": prompt_for(label_sets, RUSSIAN_MODERATION).key,
        "explanation": _EXPLANATION.key,
        "transformers": transformers.__version__,
        **({"toy": "yes"} if config.get("trasvase_toy") else {}),
    }


def open_vlm(asked: Mapping[str, Any]) -> Vlm:
    """Load a model and check its scores; see ``versions`` and ``tasks.models.load.load``.

    Raises:
        ScorerDisagrees: Its scores cannot be believed.
    """
    options = ModelOptions(
        base_model=asked["model"],
        dtype="bfloat16" if asked["device"] == "cuda" else "float32",  # few CPUs compute bfloat16
        load_in_4bit=asked["load_in_4bit"],
        device=asked["device"],
        max_pixels=asked["max_pixels"],
    )
    label_sets = LabelSets.one_of(asked["labels"])
    prompt = prompt_for(label_sets, RUSSIAN_MODERATION)
    loaded = load(options, prompt)
    classifier = Classifier(loaded, label_sets, prompt, options, _BATCH)
    classifier.self_check()
    explainers = {}
    for label in label_sets.labels:
        why = _why(label, label_sets)
        kind, speaker = loaded.model.config.model_type, loaded.family.processor
        family = make_family(kind, speaker, why, options.min_pixels, options.max_pixels)
        explainers[label] = Classifier(loaded._replace(family=family), label_sets, why, options, _BATCH, _TOKENS)
    return Vlm(classifier, explainers)


def _why(label: str, label_sets: LabelSets) -> Prompt:
    labels = json.dumps(list(label_sets.labels), ensure_ascii=False)
    system = _EXPLANATION.system.replace("{labels}", labels).replace("{label}", label)
    return Prompt(_EXPLANATION.name, system, _EXPLANATION.user)


def _columns(scored: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    if scored["error"] is not None:
        return {"error": scored["error"], "message": scored["message"]}
    if written["error"] is not None:
        return {"error": written["error"], "message": written["message"]}
    logs = np.asarray(scored["log_probabilities"])
    shares = np.exp(logs - logs.max())
    return {
        "vlm_answer": scored["answer"][0],
        "vlm_probabilities": (shares / shares.sum()).tolist(),
        "vlm_valid": scored["valid"],
        "explanation": written["generated"],
        "error": None,
        "message": None,
    }
