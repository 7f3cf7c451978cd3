from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.storage.errors import PermanentError
from tasks.training.lora import PRESETS, LoraSettings, check_device, choose

PUBLISHED = {
    "r": 4,
    "lora_alpha": 32,
    "lora_dropout": 0.05,
    "bias": "none",
    "load_in_4bit": True,
    "bf16": True,
    "gradient_accumulation_steps": 2,
    "learning_rate": 2e-4,
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.03,
    "optim": "paged_adamw_8bit",
    "weight_decay": 0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "max_grad_norm": 1.0,
    "num_train_epochs": 1,
    "seed": 42,
    "save_total_limit": 2,
    "early_stopping_patience": 2,
    "logging_steps": 20,
    "gradient_checkpointing": False,
    "dataloader_num_workers": 4,
}


@pytest.mark.parametrize(
    ("preset", "base", "more"),
    [
        (
            "mmhs-paligemma2",
            "google/paligemma2-3b-pt-224",
            {"per_device_train_batch_size": 8, "per_device_eval_batch_size": 24, "min_pixels": None},
        ),
        (
            "mmhs-qwen2vl",
            "Qwen/Qwen2-VL-2B-Instruct",
            {
                "per_device_train_batch_size": 4,
                "per_device_eval_batch_size": 4,
                "min_pixels": 50_176,
                "max_pixels": 200_704,
            },
        ),
    ],
)
def test_a_preset_has_the_predecessor_s_values(preset: str, base: str, more: dict[str, object]) -> None:
    chosen = choose("", LoraSettings(), preset)
    assert base == chosen.base_model
    got = chosen.settings.model_dump()
    assert PUBLISHED | more == {name: got[name] for name in (PUBLISHED | more)}


def test_what_a_user_sets_wins_over_the_preset_also_at_its_default() -> None:
    chosen = choose("mine/model", LoraSettings(r=8, learning_rate=1e-3), "mmhs-paligemma2")
    assert ("mine/model", 8, 1e-3, 32) == (
        chosen.base_model,
        chosen.settings.r,
        chosen.settings.learning_rate,
        chosen.settings.lora_alpha,
    )


def test_of_a_form_that_sends_every_field_those_win_that_are_not_the_default() -> None:
    form = LoraSettings(**{**LoraSettings().model_dump(), "learning_rate": 1e-3})
    assert form.model_fields_set == LoraSettings.model_fields.keys()
    chosen = choose("", form, "mmhs-paligemma2").settings
    assert (4, 1e-3, "paged_adamw_8bit") == (chosen.r, chosen.learning_rate, chosen.optim)


def test_presets_are_valid_and_are_those_of_the_form() -> None:
    from typing import get_args

    from tasks.finetune import Preset

    assert {"", *PRESETS} == set(get_args(Preset))
    for preset in PRESETS.values():
        LoraSettings(**preset.settings)


def test_every_setting_is_described_and_has_its_own_name_in_a_form() -> None:
    shown = LoraSettings.model_json_schema()["properties"]
    assert list(shown) == [field["title"] for field in shown.values()]
    assert [] == [name for name, field in LoraSettings.model_fields.items() if not field.description]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"r": 0}, "r\n"),
        ({"rank": 8}, "rank\n"),
        ({"learning_rate": 0}, "learning_rate\n"),
        ({"lora_dropout": 1}, "lora_dropout\n"),
        ({"max_steps": 0}, "max_steps=0 trains nothing"),
        ({"num_train_epochs": float("inf")}, "num_train_epochs\n"),
        ({"min_pixels": 100_000, "max_pixels": 50_000}, "min_pixels=100,000 is more than max_pixels=50,000"),
        ({"target_modules": []}, "target_modules\n"),
        ({"lr_scheduler_type": "constant", "warmup_ratio": 0.1}, "constant has no warm-up. Take constant_with_warmup"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as error:
        LoraSettings.model_validate(values)
    assert told in str(error.value)


def test_unknown_presets_and_missing_bases_are_told() -> None:
    with pytest.raises(PermanentError, match="preset='x' is none of mmhs-paligemma2, mmhs-qwen2vl"):
        choose("", LoraSettings(), "x")
    with pytest.raises(PermanentError, match="base_model is empty"):
        choose("", LoraSettings(), "")


def test_what_needs_a_gpu_is_refused_on_a_cpu() -> None:
    paged = choose("", LoraSettings(), "mmhs-paligemma2").settings
    with pytest.raises(
        PermanentError, match=r"optim=paged_adamw_8bit needs a GPU, and device is cpu. Set optim=adamw_torch"
    ):
        check_device(paged, "cpu")
    check_device(paged, "cuda")
    check_device(choose("", LoraSettings(optim="adamw_torch"), "mmhs-paligemma2").settings, "cpu")
