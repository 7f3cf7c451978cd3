"""Heat maps: equal to a plain SVD and to autograd, on the object, and on the right part of the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.models.torchvision import let_torchvision_load
from tasks.storage.errors import PermanentError
from tasks.zeroshot.class_texts import RUSSIAN_WITH_TEXT, ClassTexts
from tasks.zeroshot.clip import Clip, Look, NoClip
from tasks.zeroshot.crop import Box, Crop
from tasks.zeroshot.heat import eigen_cam, grad_cam, levelled, turned
from tasks.zeroshot.overlay import SIDE, heat_over
from tests.zeroshot.shapes import Shape, shapes

TEXTS = ClassTexts.read(("toxic", "non_toxic"), None, RUSSIAN_WITH_TEXT)


@pytest.fixture(scope="session")
def parts(trained_clip: Path) -> tuple[Any, Any]:
    let_torchvision_load()
    import transformers as hf

    return hf.CLIPModel.from_pretrained(trained_clip), hf.CLIPProcessor.from_pretrained(trained_clip)


@pytest.fixture(scope="session")
def clip(parts: tuple[Any, Any]) -> Clip:
    return Clip(*parts, TEXTS)


def test_eigen_cam_is_the_first_component_of_a_plain_svd() -> None:
    import torch

    activations = torch.randn(5, 16, 24, generator=torch.Generator().manual_seed(0))
    for one, cam in zip(activations.numpy(), eigen_cam(activations).numpy(), strict=True):
        centred = one - one.mean(axis=0)
        expected = centred @ np.linalg.svd(centred, full_matrices=True)[2][0]
        assert min(np.abs(expected - cam).max(), np.abs(expected + cam).max()) < 1e-4


def test_equal_patches_have_no_heat() -> None:
    import torch

    assert eigen_cam(torch.ones(1, 9, 4)).abs().max() < 1e-6


def test_a_map_is_turned_to_what_the_class_hangs_on() -> None:
    import torch

    maps = torch.tensor([[1.0, -2.0, 3.0], [1.0, -2.0, 3.0]])
    assert [[1, -2, 3], [-1, 2, -3]] == turned(maps, torch.tensor([0.5, 2.0]), torch.tensor([2.0, 0.5])).tolist()
    flat = levelled(torch.tensor([[[3.0], [6.0], [0.0]]]), torch.tensor([[True, False, True]]))
    assert [[[3], [6], [3]]] == flat.tolist()


def test_grad_cam_is_what_autograd_through_the_whole_model_gives(parts: tuple[Any, Any], clip: Clip) -> None:
    import torch

    model, processor = parts
    some = [each.image for each in shapes(4, 5)]
    pixels = processor.image_processor(images=some, return_tensors="pt")["pixel_values"]
    kept: list[Any] = []
    layer = model.vision_model.encoder.layers[-1].layer_norm1
    pixels.requires_grad_()

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        output.retain_grad()
        kept.append(output)

    hook = layer.register_forward_hook(keep)
    tokens = processor.tokenizer(TEXTS.flat, padding=True, return_tensors="pt")
    logits = model(pixel_values=pixels, **tokens).logits_per_image
    hook.remove()
    chosen = logits.argmax(1)
    for number, at in enumerate(chosen.tolist()):
        (logits[number, at] - logits[number, 1 - at]).backward(retain_graph=True)
    activations, gradients = kept[0].detach()[:, 1:], kept[0].grad[:, 1:]
    expected = ((activations * gradients.mean(1, keepdim=True)).sum(-1)).clamp(min=0)
    assert torch.allclose(grad_cam(activations, gradients), expected)
    for want, look in zip(expected, clip.look(some, [""] * 4), strict=True):
        assert want.tolist() == pytest.approx(look.grad, rel=1e-3, abs=1e-5)


def test_a_plain_forward_gives_the_same_probabilities(parts: tuple[Any, Any], clip: Clip) -> None:
    model, processor = parts
    some = [each.image for each in shapes(3, 6)]
    inputs = processor(text=TEXTS.flat, images=some, padding=True, return_tensors="pt")
    expected = model(**inputs).logits_per_image.double().softmax(-1).tolist()
    for want, look in zip(expected, clip.look(some, [""] * 3), strict=True):
        assert want == pytest.approx(look.probabilities, abs=1e-5)
        assert look.probabilities == pytest.approx(look.text_probabilities, abs=1e-6)


def test_an_image_s_answer_does_not_depend_on_its_neighbours(clip: Clip) -> None:
    some = shapes(4, 7)
    texts = ["", "ДА", "и ещё много слов " * 20, "НЕТ"]
    together = clip.look([each.image for each in some], texts)
    for each, text, look in zip(some, texts, together, strict=True):
        (alone,) = clip.look([each.image], [text])
        assert alone.text_probabilities == pytest.approx(look.text_probabilities, abs=1e-5)
        assert alone.eigen == pytest.approx(look.eigen, abs=1e-3)
        assert (alone.used, alone.words) == (look.used, look.words)
    assert together[2].used < together[2].words


def _share_inside(heat: list[float], look: Look, at: Shape) -> tuple[float, float]:
    """The share of heat on the shape, NaN where there is none, and the share of patches that it covers."""
    grid = np.clip(np.array(heat).reshape(8, 8), 0, None)
    steps = (np.arange(8) + 0.5) / 8
    x = look.box.left + steps * (look.box.right - look.box.left)
    y = look.box.top + steps * (look.box.bottom - look.box.top)
    left, top, right, bottom = at.box
    inside = np.outer((y > top - 4) & (y < bottom + 4), (x > left - 4) & (x < right + 4))
    return float(grid[inside].sum() / grid.sum()) if grid.any() else np.nan, float(inside.mean())


@pytest.mark.parametrize(("name", "least"), [("eigen", 0.7), ("grad", 0.5)])
def test_heat_lies_on_the_object_that_a_trained_clip_tells_classes_by(clip: Clip, name: str, least: float) -> None:
    some = shapes(40, 1)
    looks = clip.look([each.image for each in some], [""] * 40)
    right = [look.probabilities[each.kind] > 0.5 for look, each in zip(looks, some, strict=True)]
    assert sum(right) >= 36
    shares = [_share_inside(getattr(look, name), look, each) for look, each in zip(looks, some, strict=True)]
    assert np.isnan(shares).sum() < 20, "in most images something speaks for the class"
    on_shape, area = np.nanmean(shares, axis=0)
    assert area < 0.3
    assert on_shape > least


def _crop(size: dict[str, int], crop: dict[str, int] | None) -> tuple[Any, Crop]:
    let_torchvision_load()
    import transformers as hf

    processor = hf.CLIPImageProcessor(
        size=size, crop_size=crop or {"height": 32, "width": 32}, do_center_crop=bool(crop), do_normalize=False
    )
    return processor, Crop.of(processor)


@pytest.mark.parametrize(
    ("size", "crop"),
    [
        ({"shortest_edge": 32}, {"height": 32, "width": 32}),
        ({"shortest_edge": 40}, {"height": 32, "width": 32}),
        ({"height": 32, "width": 32}, None),
        ({"shortest_edge": 24}, {"height": 32, "width": 32}),
    ],
)
@pytest.mark.parametrize("shape_of", [(96, 64), (64, 101), (50, 50), (300, 40)])
def test_the_box_is_where_the_processor_took_its_pixels_from(
    size: dict[str, int], crop: dict[str, int] | None, shape_of: tuple[int, int]
) -> None:
    width, height = shape_of
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(20, 220, width).round()
    ramp[..., 1] = np.linspace(20, 220, height).round()[:, None]
    processor, cut = _crop(size, crop)
    pixels = processor(images=[Image.fromarray(ramp)], return_tensors="np")["pixel_values"][0] * 255
    box = cut.box(width, height)
    shown = pixels.shape[1]
    middles = (np.arange(shown) + 0.5) / shown
    x = box.left + middles * (box.right - box.left) - 0.5
    y = box.top + middles * (box.bottom - box.top) - 0.5
    inner_x, inner_y = (x > 2) & (x < width - 3), (y > 2) & (y < height - 3)
    row, column = shown // 2, shown // 2
    step_x, step_y = (box.right - box.left) / shown, (box.bottom - box.top) / shown
    found_x = (pixels[0][row][inner_x] - 20) / 200 * (width - 1)
    found_y = (pixels[1][:, column][inner_y] - 20) / 200 * (height - 1)
    assert np.abs(found_x - x[inner_x]).max() < max(1.5, step_x)
    assert np.abs(found_y - y[inner_y]).max() < max(1.5, step_y)


def test_of_a_wide_image_the_middle_is_seen() -> None:
    assert Box(200, 0, 1000, 800) == Crop(224, (224, 224)).box(1200, 800)


def test_a_processor_of_another_kind_is_refused() -> None:
    processor, _ = _crop({"shortest_edge": 32}, {"height": 32, "width": 32})
    processor.size = {"shortest_edge": 32, "longest_edge": 64}
    with pytest.raises(PermanentError, match="which is no way of CLIP's"):
        Crop.of(processor)


def test_a_processor_of_another_model_is_refused(parts: tuple[Any, Any]) -> None:
    import transformers as hf

    model, processor = parts
    wrong = hf.CLIPProcessor(hf.CLIPImageProcessor(), processor.tokenizer)  # type: ignore[no-untyped-call]
    with pytest.raises(NoClip, match=r"gives \(224, 224\) pixels and the model takes 64 x 64"):
        Clip(model, wrong, TEXTS)


def test_heat_is_drawn_where_it_was_seen_and_the_rest_is_grey() -> None:
    image = Image.new("RGB", (1200, 800), (20, 160, 60))
    heat = [0.0] * 16
    heat[5] = 2.0  # second row, second column
    drawn = np.asarray(heat_over(image, heat, Box(200, 0, 1000, 800)), float)
    scale = SIDE / 1200
    assert (round(800 * scale), SIDE) == drawn.shape[:2]
    hot = drawn[round(300 * scale), round((200 + 300) * scale)]
    assert hot[0] > 180, "yellow, not green"
    cold = drawn[round(700 * scale), round(900 * scale)]
    assert np.abs(cold - [20, 160, 60]).max() < 12
    for x in (50, 1150):
        outside = drawn[round(400 * scale), round(x * scale)]
        assert np.ptp(outside) < 1, "grey"


def test_no_heat_leaves_the_image_as_it_is() -> None:
    image = Image.new("RGB", (64, 64), (20, 160, 60))
    assert np.abs(np.asarray(heat_over(image, [-1.0] * 4, Box(0, 0, 64, 64)), int) - [20, 160, 60]).max() == 0
