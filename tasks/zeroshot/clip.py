"""CLIP: which class's text is nearest to an image, and what on the image that hangs on.

One image against two classes, with openai/clip-vit-large-patch14, whose logit scale is 100 ::

    cosine to "токсичный мем"    0.214   x 100   softmax ->  0.73
    cosine to "нейтральный мем"  0.204   x 100               0.27

Asked twice: with the classes' texts alone, and with the text that was read on the image in them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.pictures.decode import BadImage, open_picture, read_unchanged
from tasks.storage.errors import PermanentError
from tasks.zeroshot.chunk import VERSION
from tasks.zeroshot.class_texts import ClassTexts
from tasks.zeroshot.crop import Box, Crop
from tasks.zeroshot.heat import eigen_cam, grad_cam, levelled, turned

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


_AT_ONCE = 16  # images in one forward


class NoClip(PermanentError):
    """A model that is not the CLIP that was asked for."""


class Look(NamedTuple):
    """What CLIP says of one image.

    Args:
        probabilities: Of each class, from the image and the classes' texts.
        text_probabilities: The same with the image's text in the classes' texts.
        used: How many words of the image's text fitted.
        words: How many it has.
        eigen: EigenCAM over the patches, row by row; what speaks for the class is positive.
        grad: GradCAM for the class that ``probabilities`` likes best.
        box: The part of the image that was seen.
    """

    probabilities: list[float]
    text_probabilities: list[float]
    used: int
    words: int
    eigen: list[float]
    grad: list[float]
    box: Box


class Clip:
    """A CLIP that knows its classes; one thread at a time computes.

    Args:
        model: A ``CLIPModel``, on its device.
        processor: Its ``CLIPProcessor``.
        texts: The classes.

    Raises:
        NoClip: Processor and model do not belong together.
        BadPrompts: A class's text is too long.
    """

    def __init__(self, model: Any, processor: Any, texts: ClassTexts) -> None:
        self._model, self._processor, self._texts = model.requires_grad_(False).eval(), processor, texts
        self._limit: int = model.config.text_config.max_position_embeddings
        self.crop = Crop.of(processor.image_processor)
        side = model.config.vision_config.image_size
        if (self.crop.cut or self.crop.resized) != (side, side):
            raise NoClip(
                f"The image processor gives {self.crop.cut or self.crop.resized} pixels and the model takes {side} x "
                f"{side}: preprocessor_config.json is of another model. Download the model again."
            )
        self._lock = threading.Lock()
        texts.fitted("", self._tokens, self._limit)
        self._classes = self._features([texts.flat])  # [1, C, D], for any number of images

    def answer(self, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
        """The finished rows of a chunk; see ``tasks.zeroshot.chunk.Model``."""
        finished: list[dict[str, Any]] = []
        for start in range(0, len(rows), _AT_ONCE):
            finished += self._answer(rows[start : start + _AT_ONCE], folder)
        return finished

    def _answer(self, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
        finished, opened, images = [], [], []
        for row in rows:
            done: dict[str, Any] = {**row, "error": None, "message": None}
            try:
                images.append(open_picture(read_unchanged(row["row"], folder / row["path"], row["sha256"])).image)
                opened.append(done)
            except BadImage as error:
                done |= {"error": error.code, "message": f"Row {row['row']}, {row['path']} {error}"}
            finished.append(done)
        looks = self.look(images, [row["text"] or "" for row in opened]) if images else []
        for done, look in zip(opened, looks, strict=True):
            done |= {
                "clip_answer": self._likeliest(look.probabilities),
                "clip_probabilities": look.probabilities,
                "clip_text_answer": self._likeliest(look.text_probabilities),
                "clip_text_probabilities": look.text_probabilities,
                "words": look.words,
                "words_used": look.used,
                "seen": list(look.box),
                "eigen": look.eigen,
                "grad": look.grad,
            }
        return finished

    def _likeliest(self, probabilities: Sequence[float]) -> str:
        return self._texts.labels[max(range(len(probabilities)), key=probabilities.__getitem__)]

    def look(self, images: Sequence[Image], texts: Sequence[str]) -> list[Look]:
        """Classify images.

        Args:
            images: Upright RGB.
            texts: What is written on each, may be empty.
        """
        with self._lock:
            return self._look(images, texts)

    def _look(self, images: Sequence[Image], texts: Sequence[str]) -> list[Look]:
        import torch

        features, eigen, grad = self._see(images)
        fitted = [self._texts.fitted(text, self._tokens, self._limit) for text in texts]
        with torch.no_grad():
            alone = self._probabilities(features, self._classes)
            with_text = self._probabilities(features, self._features([each.texts for each in fitted]))
        return [
            Look(
                alone[n].tolist(),
                with_text[n].tolist(),
                fitted[n].used,
                fitted[n].words,
                eigen[n].tolist(),
                grad[n].tolist(),
                self.crop.box(*images[n].size),
            )
            for n in range(len(images))
        ]

    def _see(self, images: Sequence[Image]) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised features ``[B, D]`` and both maps ``[B, P]``."""
        import torch
        from torch.nn.functional import normalize

        pixels = self._processor.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        last = self._model.vision_model.encoder.layers[-1]
        inside: list[Tensor] = []
        hook = last.layer_norm1.register_forward_hook(lambda _, inputs, output: inside.extend((inputs[0], output)))
        try:
            with torch.no_grad():
                seen = self._model.get_image_features(pixel_values=pixels.to(self._model.device)).pooler_output
        finally:
            hook.remove()
        features = normalize(seen, dim=-1)
        before, at = inside
        chosen = self._logits(features, self._classes).argmax(-1, keepdim=True)
        with torch.enable_grad():
            asked = at.clone().requires_grad_()
            (gradients,) = torch.autograd.grad(self._odds(before, asked, chosen).sum(), asked)
        with torch.no_grad():
            activations = at[:, 1:]
            eigen = eigen_cam(activations.float())
            without = [
                self._odds(before, torch.cat([at[:, :1], levelled(activations, side > 0)], 1), chosen)
                for side in (eigen, -eigen)
            ]
            return features, turned(eigen, *without), grad_cam(activations, gradients[:, 1:])

    def _odds(self, before: Tensor, at: Tensor, chosen: Tensor) -> Tensor:
        """Log odds ``[B]`` of a class, from the last layer on.

        The odds and not the logit: a logit rises with all that is meme-like, whichever class is asked for.

        Args:
            before: What comes into the last layer, ``[B, 1 + P, D]``.
            at: The same after its first norm, before attention.
            chosen: ``[B, 1]``, a class each.
        """
        from torch.nn.functional import normalize

        vision = self._model.vision_model
        last = vision.encoder.layers[-1]
        hidden = before + last.self_attn(hidden_states=at, attention_mask=None)[0]
        hidden = hidden + last.mlp(last.layer_norm2(hidden))
        pooled = self._model.visual_projection(vision.post_layernorm(hidden[:, 0]))
        logits = self._logits(normalize(pooled, dim=-1), self._classes)
        return logits.gather(1, chosen)[:, 0] - logits.scatter(1, chosen, float("-inf")).logsumexp(-1)

    def _features(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """Features of each class ``[len(texts), C, D]``: the normalised mean of its texts' normalised features."""
        import torch
        from torch.nn.functional import normalize

        flat = [text for some in texts for text in some]
        padded = self._processor.tokenizer(flat, padding=True, return_tensors="pt").to(self._model.device)
        with torch.no_grad():
            features = normalize(self._model.get_text_features(**padded).pooler_output, dim=-1)
        sizes = [len(prompts) for prompts in self._texts.prompts]
        rows = features.reshape(len(texts), sum(sizes), -1)
        return normalize(torch.stack([part.mean(1) for part in torch.split(rows, sizes, 1)], 1), dim=-1)

    def _logits(self, features: Tensor, classes: Tensor) -> Tensor:
        """``[B, C]`` of features ``[B, D]`` and classes ``[B, C, D]`` or ``[1, C, D]``."""
        logits: Tensor = (classes @ features[:, :, None])[..., 0] * self._model.logit_scale.exp()
        return logits

    def _probabilities(self, features: Tensor, classes: Tensor) -> Tensor:
        return self._logits(features, classes).double().softmax(-1)

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        # Too long is what is looked for here, not worth a warning.
        ids: list[list[int]] = self._processor.tokenizer(texts, verbose=False)["input_ids"]
        return ids


def versions(asked: Mapping[str, Any]) -> dict[str, str]:
    """What decides the answers besides what was asked for; the model is found and looked at, but not loaded.

    Args:
        asked: ``model``, ``device``, ``labels``, ``prompts`` and ``with_text``.

    Raises:
        NoClip: The model is no CLIP.
        BadPrompts: The classes' texts cannot be used.
        NoGpu: ``device`` is cuda and there is none.
        BadModel: The model is neither a folder nor on the hub.
        TransientError: The hub does not answer.
    """
    import transformers

    from tasks.models.load import check_device, find_base

    ClassTexts.read(asked["labels"], asked["prompts"], asked["with_text"])
    check_device(asked["device"])
    folder, digest, setup = find_base(asked["model"])
    toy = getattr(_config(folder), "trasvase_toy", False)
    return {
        "code": VERSION,
        "model": digest,
        "setup": setup,
        "transformers": transformers.__version__,
        **({"toy": "yes"} if toy else {}),
    }


def open_clip(asked: Mapping[str, Any]) -> Clip:
    """Load a CLIP; see ``versions``."""
    import torch

    from tasks.models.load import check_device, find_base
    from tasks.models.torchvision import let_torchvision_load

    check_device(asked["device"])
    let_torchvision_load()
    from transformers import CLIPModel, CLIPProcessor

    folder = find_base(asked["model"]).folder
    _config(folder)
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, local_files_only=True)
    try:
        processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise NoClip(f"{folder} has no processor of a CLIP ({error}). Download the model again.") from error
    texts = ClassTexts.read(asked["labels"], asked["prompts"], asked["with_text"])
    return Clip(model.to(asked["device"]), processor, texts)


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise NoClip(f"{folder / 'config.json'} is not taken: {error}") from error
    if config.model_type != "clip":
        raise NoClip(
            f"{folder} is a {config.model_type!r} and no CLIP. Give `clip` a model such as openai/clip-vit-large-patch14."
        )
    return config
