"""Both models as they are found, opened and asked: tiny ones of the real classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.samples import toy_models
from tasks.models.label_sets import LabelSets
from tasks.models.load import BadModel, ModelOptions, NoGpu, load
from tasks.models.predict import Classifier
from tasks.models.prompts import RUSSIAN_MODERATION, prompt_for
from tasks.pictures.decode import open_picture
from tasks.storage.root import DataRoot
from tasks.storage.schemas import MEMES_CLASSIFIED, MEMES_TO_CLASSIFY
from tasks.storage.tables import read_group, read_table
from tasks.zeroshot import clip, vlm
from tasks.zeroshot.class_texts import BadPrompts
from tasks.zeroshot.report import write_report
from tests.zeroshot.walk import LABELS, folder_of_shapes, planned, table_of_memes, walk


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toys")
    toy_models.qwen2_5_vl(folder / "qwen")
    toy_models.clip(folder / "clip")
    toy_models.mistral(folder / "mistral")
    return folder


def of_vlm(model: Path, **how: Any) -> dict[str, Any]:
    return {"model": str(model), "device": "cpu", "labels": LABELS, "load_in_4bit": False, "max_pixels": None, **how}


def of_clip(model: Path, **how: Any) -> dict[str, Any]:
    texts: Mapping[str, Any] = {"prompts": None, "with_text": "{prompt} с текстом «{text}»"}
    return {"model": str(model), "device": "cpu", "labels": LABELS, **texts, **how}


def test_the_whole_walk_with_toys_says_that_they_are_toys(toys: Path, trained_clip: Path, tmp_path: Path) -> None:
    root, folder = DataRoot(tmp_path / "data"), tmp_path / "memes"
    rows = folder_of_shapes(folder)
    table = table_of_memes(folder, rows, root)
    asked = of_vlm(toys / "qwen"), of_clip(trained_clip)
    versions = vlm.versions(asked[0])
    assert "yes" == versions["toy"] == clip.versions(asked[1])["toy"]
    _, tables = walk(table, root, vlm.open_vlm(asked[0]), clip.open_clip(asked[1]), versions=versions)
    classified = read_table(tables.table, MEMES_CLASSIFIED).to_pylist()
    assert 6 == len(classified)
    for row, known in zip(classified, rows, strict=False):
        for column in ("vlm", "clip", "clip_text"):
            said = row[f"{column}_probabilities"]
            assert 1 == pytest.approx(sum(said))
            assert LABELS[int(np.argmax(said))] == row[f"{column}_answer"]
        assert 0 < row["vlm_valid"] <= 1
        assert row["words"] == len(known.text.split())
        assert 64 == len(row["eigen"]) == len(row["grad"])
    assert [0, 0, 64, 64] == classified[0]["seen"]
    assert [64, 0, 128, 64] == classified[5]["seen"]
    long = classified[3]
    assert 0 < long["words_used"] < long["words"]
    right = [row["clip_answer"] == row["label"] for row in classified if row["label"]]
    assert sum(right) >= 4
    page = write_report(root.reports / "a", tables, 9).html.read_text("utf-8")
    assert "(toy models)" in page
    assert "No figure on this page says anything" in page


def test_the_vlm_s_probabilities_are_the_scorer_s_and_its_explanation_is_of_its_class(
    toys: Path, tmp_path: Path
) -> None:
    rows = folder_of_shapes(tmp_path / "memes")
    asked = of_vlm(toys / "qwen")
    table = table_of_memes(tmp_path / "memes", rows, DataRoot(tmp_path / "data"))
    job, _ = planned(table, DataRoot(tmp_path / "data"))
    items = read_group(job.rows_path, MEMES_TO_CLASSIFY, 0).to_pylist()[:2]
    model = vlm.open_vlm(asked)
    found = model.answer(items, tmp_path / "memes")
    sets = LabelSets.one_of(LABELS)
    prompt = prompt_for(sets, RUSSIAN_MODERATION)
    options = ModelOptions(base_model=asked["model"], dtype="float32", device="cpu")
    classifier = Classifier(load(options, prompt), sets, prompt, options, 1)
    for item, answer in zip(items, found, strict=True):
        image = open_picture((tmp_path / "memes" / item["path"]).read_bytes()).image
        scores = classifier.score([item["text"] or "(нет)"], [image])[0]
        assert np.exp(scores).sum() == pytest.approx(answer["vlm_valid"], rel=1e-3)
        expected = np.exp(scores) / np.exp(scores).sum()
        assert expected.tolist() == pytest.approx(answer["vlm_probabilities"], abs=1e-4)
        assert isinstance(answer["explanation"], str)
    assert set(LABELS) == set(model._explainers)
    assert len({explainer.name for explainer in model._explainers.values()}) == 2


def test_a_gpu_that_is_not_there_is_missed_before_anything_is_loaded(toys: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("There is a GPU here.")
    for asked, module in ((of_vlm(toys / "qwen", device="cuda"), vlm), (of_clip(toys / "clip", device="cuda"), clip)):
        with pytest.raises(NoGpu, match=r"no GPU that torch sees. Start the run on the gpu pool, or set device=cpu"):
            module.versions(asked)


def test_a_folder_that_is_no_clip_says_what_it_is(toys: Path, tmp_path: Path) -> None:
    with pytest.raises(clip.NoClip, match=r"is a 'qwen2_5_vl' and no CLIP. Give `clip` a model such as openai/clip"):
        clip.versions(of_clip(toys / "qwen"))
    with pytest.raises(BadModel, match="is neither a folder here nor a model on the hub"):
        clip.versions(of_clip(tmp_path / "nothing" / "there"))
    with pytest.raises(BadModel, match="has its weights not at all"):
        clip.versions(of_clip(tmp_path))
    shutil.copytree(toys / "clip", tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(BadModel, match=r"only as pytorch_model.bin, which may run code"):
        clip.versions(of_clip(tmp_path / "pickled"))
    shutil.copytree(toys / "clip", tmp_path / "without")
    (tmp_path / "without" / "config.json").unlink()
    with pytest.raises(clip.NoClip, match=r"config.json is not taken"):
        clip.versions(of_clip(tmp_path / "without"))


def test_a_model_without_eyes_is_no_vlm(toys: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="is a 'mistral', which takes no images here"):
        vlm.versions(of_vlm(toys / "mistral"))
    shutil.copytree(toys / "qwen", tmp_path / "nameless")
    (tmp_path / "nameless" / "config.json").write_text(json.dumps({}))
    with pytest.raises(BadModel, match="names no model type"):
        vlm.versions(of_vlm(tmp_path / "nameless"))


def test_texts_of_classes_are_checked_at_the_plan(toys: Path) -> None:
    with pytest.raises(BadPrompts, match="The class 'non_toxic' has no text"):
        clip.versions(of_clip(toys / "clip", prompts={"toxic": ["x"]}))


def test_an_ensemble_of_texts_is_the_mean_of_their_features(trained_clip: Path, tmp_path: Path) -> None:
    folder_of_shapes(tmp_path / "memes")
    image = open_picture((tmp_path / "memes" / "0 рыба.png").read_bytes()).image
    one = clip.open_clip(of_clip(trained_clip)).look([image], [""])[0]
    prompts = {"toxic": ["токсичный мем"] * 3, "non_toxic": ["нейтральный мем"]}
    same = clip.open_clip(of_clip(trained_clip, prompts=prompts)).look([image], [""])[0]
    assert one.probabilities == pytest.approx(same.probabilities, abs=1e-5)
    prompts = {"toxic": ["токсичный мем", "a red square"], "non_toxic": ["нейтральный мем"]}
    other = clip.open_clip(of_clip(trained_clip, prompts=prompts)).look([image], [""])[0]
    assert one.probabilities != pytest.approx(other.probabilities, abs=1e-5)
