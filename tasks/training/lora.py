"""What a user may set of a fine-tuning, under PEFT's and the Trainer's own names, and what predecessors set.

::

    LoraSettings(r=16)                                    everything else as described
    choose(LoraSettings(r=16), "mmhs-paligemma2")         the predecessor's values, but r = 16
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.storage.errors import PermanentError

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

# Optimisers that transformers builds from torch alone, and those that bitsandbytes runs on a GPU only.
Optimiser = Literal[
    "adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit"
]
ON_GPU_ONLY = ("adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit")

Metric = Literal["auto", "eval_f1_macro", "eval_f1_micro", "eval_subset_accuracy", "eval_loss"]


class LoraSettings(BaseModel):
    """How an adapter is trained. Names are PEFT's and those of transformers' TrainingArguments."""

    # A form shows "lora_alpha", not "Lora Alpha".
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, field_title_generator=lambda name, _: name
    )

    # The adapter: peft.LoraConfig
    r: int = Field(8, ge=1, le=1024, description="Rank of the adapter's matrices.")
    lora_alpha: int = Field(8, ge=1, description="Scale of the adapter: it acts with lora_alpha / r.")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout before the adapter's matrices.")
    bias: Literal["none", "all", "lora_only"] = Field("none", description="Which biases are trained as well.")
    use_rslora: bool = Field(False, description="Scale by lora_alpha / sqrt(r) instead, for high ranks.")
    use_dora: bool = Field(False, description="Train direction and magnitude of the weights apart (DoRA); slower.")
    target_modules: tuple[str, ...] = Field(
        PROJECTIONS, min_length=1, description="Names of the layers that get an adapter."
    )
    language_tower_only: bool = Field(
        True,
        description="Adapters in the language tower only. Off: in every layer of these names, also of the vision tower.",
    )

    # The base model: TrainingArguments, BitsAndBytesConfig, and the processors' own names
    bf16: bool = Field(True, description="Compute in bfloat16. Off: in float32, with twice the memory.")
    load_in_4bit: bool = Field(
        False,
        description="Hold the base model in 4 bits (QLoRA, nf4, double quantisation): less memory, slower, less exact.",
    )
    min_pixels: int | None = Field(None, ge=784, description="Qwen: images are enlarged to at least so many pixels.")
    max_pixels: int | None = Field(None, ge=784, description="Qwen: images are reduced to at most so many pixels.")

    max_length: int | None = Field(
        None, ge=2, description="Conversations of more tokens are refused, never cut; what the model takes when empty."
    )

    # The training: transformers.TrainingArguments
    num_train_epochs: float = Field(3.0, gt=0, description="How often every row is seen.")
    max_steps: int = Field(-1, ge=-1, description="Steps in all, in place of num_train_epochs; -1 for these.")
    per_device_train_batch_size: int = Field(8, ge=1, description="Rows at once on each GPU.")
    gradient_accumulation_steps: int = Field(1, ge=1, description="Batches per step: more rows in the same memory.")
    per_device_eval_batch_size: int = Field(8, ge=1, description="Rows at once on each GPU while evaluating.")
    learning_rate: float = Field(5e-5, gt=0, le=1, description="The highest learning rate.")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"] = Field(
        "linear", description="How the learning rate falls."
    )
    warmup_ratio: float = Field(0.0, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    optim: Optimiser = Field("adamw_torch", description="The optimiser. Those with 8bit and paged need a GPU.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay.")
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="Adam's memory of gradients.")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="Adam's memory of squared gradients.")
    adam_epsilon: float = Field(1e-8, gt=0, description="Adam's epsilon.")
    max_grad_norm: float = Field(1.0, ge=0, description="Gradients are cut to this length; 0 leaves them.")
    gradient_checkpointing: bool = Field(
        False, description="Compute activations again instead of keeping them: far less memory, a third slower."
    )
    seed: int = Field(42, ge=0, lt=2**32, description="Of initial weights, dropout and the order of rows.")
    dataloader_num_workers: int = Field(0, ge=0, le=64, description="Processes per GPU that decode images.")
    logging_steps: int = Field(10, ge=1, description="Steps between two points of the loss curve.")
    eval_steps: int = Field(
        0, ge=0, description="Steps between two evaluations, each with a checkpoint; 0 for ten evaluations a run."
    )
    save_total_limit: int = Field(2, ge=1, description="Checkpoints that are kept besides the best one.")
    metric_for_best_model: Metric = Field(
        "auto", description="Which checkpoint is the best; auto is eval_f1_macro, and eval_loss without labels."
    )
    early_stopping_patience: int = Field(
        0, ge=0, description="End after so many evaluations without a better one; 0 for never."
    )
    early_stopping_threshold: float = Field(0.0, ge=0, description="By how much a better one has to be better.")

    @model_validator(mode="after")
    def _fits(self) -> LoraSettings:
        if self.max_steps == 0:
            raise ValueError("max_steps=0 trains nothing. Give the number of steps, or -1 for num_train_epochs.")
        if self.warmup_ratio and self.lr_scheduler_type == "constant":
            raise ValueError("lr_scheduler_type=constant has no warm-up. Take constant_with_warmup, or warmup_ratio=0.")
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels={self.min_pixels:,} is more than max_pixels={self.max_pixels:,}.")
        return self

    @property
    def dtype(self) -> Literal["bfloat16", "float32"]:
        """What the model computes in."""
        return "bfloat16" if self.bf16 else "float32"


class Preset(NamedTuple):
    """Values that somebody else trained with, and on what."""

    base_model: str
    settings: Mapping[str, Any]


# amirhossein-yousefi/text_image_multi_modal_vlm at 01ae813: its stored runs, not its card, which says otherwise. Two
# things are not as there: it evaluated every 8,000 steps, once or twice a run, so that early stopping could not act; and
# its 4-bit weights were multiplied in float16, in which Gemma overflows. Ours in bfloat16, as bf16 says.
_MMHS: dict[str, Any] = {
    "r": 4,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "bias": "none",
    "target_modules": PROJECTIONS,
    "language_tower_only": False,  # the names alone: SigLIP's q, k and v get adapters too
    "bf16": True,
    "load_in_4bit": True,
    "num_train_epochs": 1.0,
    "gradient_accumulation_steps": 2,
    "learning_rate": 2e-4,
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.03,
    "optim": "paged_adamw_8bit",
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "max_grad_norm": 1.0,
    "seed": 42,
    "metric_for_best_model": "eval_f1_macro",
    "save_total_limit": 2,
    "early_stopping_patience": 2,
    "logging_steps": 20,
    "gradient_checkpointing": False,
    "dataloader_num_workers": 4,
}
PRESETS: dict[str, Preset] = {
    "mmhs-paligemma2": Preset(
        "google/paligemma2-3b-pt-224", _MMHS | {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 24}
    ),
    "mmhs-qwen2vl": Preset(
        "Qwen/Qwen2-VL-2B-Instruct",
        _MMHS
        | {
            "per_device_train_batch_size": 4,
            "per_device_eval_batch_size": 4,
            "min_pixels": 64 * 28 * 28,
            "max_pixels": 256 * 28 * 28,
        },
    ),
}


# aastroza/mistral-fine-tuning at d9e38f9: 25 steps at 1e-4 of Mistral's fine-tuning service, evaluated at steps 10 and 20,
# on ``open-mistral-7b``. The service is gone, and it never said its batch, its rank or whether it trained adapters at all:
# everything else is ours, and the base is the open model that we take for it. Never tried here with its real weights.
PRESETS["vina-mistral-7b"] = Preset(
    "mistralai/Mistral-7B-Instruct-v0.3", {"max_steps": 25, "learning_rate": 1e-4, "eval_steps": 10}
)


class Chosen(NamedTuple):
    """The base model and the settings that a run has."""

    base_model: str
    settings: LoraSettings


def choose(base_model: str, settings: LoraSettings, preset: str) -> Chosen:
    """The preset's values where the user set nothing else.

    Args:
        base_model: What the user named; the preset's when empty.
        settings: What the user set. A form sends every field, so there a field counts as set when it is not the default.
        preset: Name of a preset, or nothing.

    Raises:
        PermanentError: There is no such preset, or no base model.
    """
    if preset and preset not in PRESETS:
        raise PermanentError(f"preset={preset!r} is none of {', '.join(PRESETS)}. Correct it, or leave it empty.")
    named = PRESETS[preset] if preset else Preset("", {})
    base = base_model or named.base_model
    if not base:
        raise PermanentError(
            "base_model is empty. Give a model of the Hub, such as google/paligemma2-3b-pt-224, a folder, or a preset "
            f"({', '.join(PRESETS)})."
        )
    given = settings.model_dump(include=settings.model_fields_set)
    if given.keys() == LoraSettings.model_fields.keys():
        defaults = LoraSettings().model_dump()
        given = {name: value for name, value in given.items() if value != defaults[name]}
    return Chosen(base, LoraSettings(**{**named.settings, **given}))


def check_device(settings: LoraSettings, device: str) -> None:
    """Refuse what cannot be had on this device.

    Raises:
        PermanentError: It needs a GPU; the message says what to set instead.
    """
    if device == "cpu" and settings.optim in ON_GPU_ONLY:
        raise PermanentError(
            f"optim={settings.optim} needs a GPU, and device is cpu. Set optim=adamw_torch, or run on the gpu pool."
        )
