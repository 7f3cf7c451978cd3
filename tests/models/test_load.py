from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.models.adapter import RECORD, WEIGHTS, BadAdapter, read_adapter
from tasks.models.load import BadModel, NoGpu, find_base, load
from tasks.models.prompts import Prompt, prompt_for
from tasks.models.tree import AnswerTree, score
from tasks.storage.errors import TransientError
from tests.models.conftest import Toys
from tests.models.made import FAMILIES, MANY, ONE, adapter, cpu, images, load_toy

PROMPT = prompt_for(MANY)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_toy_says_that_it_is_one(toys: Toys, name: str) -> None:
    assert load_toy(toys(name)).toy


def test_a_model_is_the_same_in_another_folder(toys: Toys, tmp_path: Path) -> None:
    copy = shutil.copytree(toys("mistral"), tmp_path / "elsewhere")
    assert load_toy(toys("mistral")).digest == load_toy(copy).digest
    assert load_toy(toys("mistral")).digest != load_toy(toys("qwen2_vl")).digest
    (copy / "consolidated.safetensors").write_bytes(b"the same weights in another layout, for other programs")
    assert load_toy(toys("mistral")).digest == load_toy(copy).digest


def test_what_is_read_beside_the_weights_is_told_apart_from_them(toys: Toys, tmp_path: Path) -> None:
    copy = shutil.copytree(toys("mistral"), tmp_path / "elsewhere")
    first = find_base(str(copy))
    (copy / "model.safetensors.index.json").write_text("{}")
    (copy / "README.md").write_text("Nothing reads it.")
    assert first == find_base(str(copy))
    for name in ("chat_template.jinja", "tokenizer_config.json", "config.json"):
        (copy / name).write_text((copy / name).read_text() + "\n")
        found = find_base(str(copy))
        assert (first.digest, True) == (found.digest, first.setup != found.setup)
        first = found


def test_an_adapter_fits_its_base_whose_chat_template_has_changed(toys: Toys, tmp_path: Path) -> None:
    base = shutil.copytree(toys("mistral"), tmp_path / "base")
    folder = adapter(tmp_path / "adapter", base)
    template = base / "chat_template.jinja"
    template.write_text("Now, " + template.read_text())
    alone, adapted = load(cpu(base), PROMPT), load(cpu(base, adapter=folder), PROMPT)
    assert (True, False) == tuple("Now, " in each.family.written("red") for each in (alone, adapted))


@pytest.mark.parametrize("name", ["paligemma", "mistral"])
def test_four_bits_are_a_switch(toys: Toys, name: str) -> None:
    full, quantised = (load_toy(toys(name), load_in_4bit=on) for on in (False, True))
    assert {torch.float32} == {weight.dtype for weight in full.model.parameters()}
    assert torch.uint8 in {weight.dtype for weight in quantised.model.parameters()}
    assert "nf4" == quantised.model.config.quantization_config.bnb_4bit_quant_type
    tree = AnswerTree(MANY, full.family)
    inputs = full.family.inputs(["a red square"], images(full.family, 1))
    exact, rough = (score(each.model, each.family, inputs, tree) for each in (full, quantised))
    assert 0 < float((exact - rough).abs().max()) < 2


def test_attention_whose_logits_are_capped_is_computed_eagerly(toys: Toys) -> None:
    capped, other = (load_toy(toys(name)).model.config.get_text_config() for name in ("paligemma", "qwen2_vl"))
    assert ("eager", "sdpa") == (capped._attn_implementation, other._attn_implementation)


def test_a_gpu_that_is_asked_for_must_be_there(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(NoGpu, match="gpu pool, or set device=cpu"):
        load(cpu(toys("mistral"), device="cuda"), PROMPT)


@pytest.mark.parametrize("name", ["nobody/has-this", "no/such/folder", "/no/such/folder"])
def test_a_model_that_is_nowhere_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadModel, match=f"^{name} is neither a folder here nor"):
        load(cpu(Path(name)), PROMPT)


def test_a_hub_that_cannot_be_reached_may_answer_later(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*args: Any, **how: Any) -> None:
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(TransientError, match="hub cannot be reached"):
        load(cpu(Path("someone/something")), PROMPT)


def test_weights_that_are_pickles_are_refused(toys: Toys, tmp_path: Path) -> None:
    base = shutil.copytree(toys("mistral"), tmp_path / "base")
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(BadModel, match=r"only as pytorch_model\.bin, which may run code"):
        load(cpu(base), PROMPT)


def test_a_family_that_is_not_known_is_named(toys: Toys, tmp_path: Path) -> None:
    base = shutil.copytree(toys("mistral"), tmp_path / "base")
    for kind in ("llava", "t5"):
        (base / "config.json").write_text(json.dumps({"model_type": kind}))
        with pytest.raises(BadModel, match=f"is a '{kind}', which is none of the families here: paligemma, qwen2_vl"):
            load(cpu(base), PROMPT)


def test_a_model_whose_weights_are_not_all_there_is_refused(toys: Toys, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = shutil.copytree(toys("mistral"), tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadModel, match=r"lacks 1 weights of a 'mistral', such as model\.layers\.1\.mlp\.up_proj"):
        load(cpu(base), PROMPT)


def test_a_folder_that_is_no_model_is_refused(toys: Toys, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((toys("mistral") / "model.safetensors").read_bytes())
    with pytest.raises(BadModel, match=r"config\.json is not taken"):
        load(cpu(tmp_path), PROMPT)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_adapter_comes_back_as_it_was(toys: Toys, tmp_path: Path, name: str) -> None:
    folder = adapter(tmp_path / "adapter", toys(name))
    plain, adapted = load_toy(toys(name)), load_toy(toys(name), adapter=folder)
    assert adapted.record == read_adapter(folder)
    tree = AnswerTree(MANY, plain.family)
    inputs = plain.family.inputs(["a red square"], images(plain.family, 1))
    before, after = (score(each.model, each.family, inputs, tree) for each in (plain, adapted))
    assert float((before - after).abs().max()) > 0.1


def test_an_adapter_keeps_its_budget_of_pixels(toys: Toys, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", toys("qwen2_vl"), max_pixels=56 * 56)
    family = load_toy(toys("qwen2_vl"), adapter=folder).family
    assert 56 * 56 == family.processor.image_processor.size["longest_edge"]
    with pytest.raises(BadAdapter, match="trained with max_pixels=3136, not 7056"):
        load_toy(toys("qwen2_vl"), adapter=folder, max_pixels=84 * 84)


def test_an_adapter_of_another_base_is_refused(toys: Toys, tmp_path: Path) -> None:
    from data.samples import toy_models

    folder = adapter(tmp_path / "adapter", toys("mistral"))
    other = toy_models.mistral(tmp_path / "other", seed=1)
    with pytest.raises(BadAdapter, match=r"with other weights .* Name its own base model"):
        load_toy(other, adapter=folder)


def test_a_base_with_other_weights_than_those_asked_for_is_refused(toys: Toys) -> None:
    digest = find_base(str(toys("mistral"))).digest
    assert digest == load_toy(toys("mistral"), base_digest=digest).digest
    with pytest.raises(BadModel, match=rf"has other weights \({digest[:12]}\) than those .* \(3f2a9c01d7b4\)"):
        load_toy(toys("mistral"), base_digest="3f2a9c01d7b4" + digest[12:])


def test_an_adapter_with_another_prompt_is_refused(toys: Toys, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", toys("mistral"))
    with pytest.raises(BadAdapter, match=f"with the prompt {PROMPT.key}, not mine/1@"):
        load(cpu(toys("mistral"), adapter=folder), Prompt("mine/1", "Judge."))
    with pytest.raises(BadAdapter, match="prompt"):
        load_toy(toys("mistral"), ONE, adapter=folder)


def test_an_adapter_with_pickled_weights_is_refused(toys: Toys, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", toys("mistral"))
    torch.save({}, folder / "adapter_model.bin")
    with pytest.raises(BadAdapter, match=r"adapter_model\.bin may run code"):
        load_toy(toys("mistral"), adapter=folder)


@pytest.mark.parametrize("name", [WEIGHTS, "adapter_config.json", "chat_template.jinja", "tokenizer.json"])
def test_a_changed_file_of_an_adapter_is_found(toys: Toys, tmp_path: Path, name: str) -> None:
    folder = adapter(tmp_path / "adapter", toys("mistral"))
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(BadAdapter, match=f"{name} is not as it was written"):
        read_adapter(folder)


def test_a_file_that_came_later_is_refused_where_a_library_would_read_it(toys: Toys, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", toys("mistral"))
    (folder / "README.md").write_text("a better card")
    (folder / "loss.png").write_bytes(b"")
    read_adapter(folder)
    (folder / "added_tokens.json").write_text("{}")
    with pytest.raises(BadAdapter, match=r"added_tokens\.json came later"):
        read_adapter(folder)


def test_a_lost_file_of_an_adapter_is_named(toys: Toys, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", toys("mistral"))
    (folder / WEIGHTS).unlink()
    with pytest.raises(BadAdapter, match=f"lacks {WEIGHTS}"):
        read_adapter(folder)


def test_a_foreign_folder_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(BadAdapter, match=r"trasvase\.json cannot be read"):
        read_adapter(tmp_path)
    (tmp_path / RECORD).write_text('{"base_model": 7}')
    with pytest.raises(BadAdapter, match="is damaged at base_model"):
        read_adapter(tmp_path)
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(BadAdapter, match="is damaged at the file"):
        read_adapter(tmp_path)


def test_a_record_names_no_file_outside_its_folder(toys: Toys, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "adapter", toys("mistral"))
    record = json.loads((folder / RECORD).read_bytes())
    (tmp_path / "outside.json").write_text("{}")
    record["files"]["../outside.json"] = "0" * 64
    (folder / RECORD).write_text(json.dumps(record))
    with pytest.raises(BadAdapter, match="lacks"):
        read_adapter(folder)


def test_weights_that_find_no_place_are_refused(toys: Toys, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from tasks.models.adapter import write_record

    folder = adapter(tmp_path / "adapter", toys("mistral"))
    record = read_adapter(folder)
    weights = load_file(folder / WEIGHTS)
    save_file({name.replace("layers.0", "blocks.0"): weight for name, weight in weights.items()}, folder / WEIGHTS)
    write_record(folder, record)
    with pytest.raises(BadAdapter, match="weights do not fit this model"):
        load_toy(toys("mistral"), adapter=folder)
