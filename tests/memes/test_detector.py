"""The detector whose graph is joined up finds what the one in the wheel finds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from rapidocr_onnxruntime.ch_ppocr_det.utils import DetPreProcess

from tasks.memes import detector
from tests.memes.drawn import meme

GRAPH = detector.WEIGHTS.read_bytes()
JOINED = detector.joined_up(GRAPH)


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.float32]:
    image = np.asarray(meme("ДОБРОЕ УТРО", "СПОКОЙНОЙ НОЧИ", size=(320, 240)))
    return np.asarray(detector._Prepared(224, "min")(image), np.float32)


def _computed(graph: bytes, pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    found: list[NDArray[np.float32]] = onnxruntime.InferenceSession(graph, options).run(None, {"x": pixels})
    return found


def test_the_joined_graph_computes_the_same(pixels: NDArray[np.float32]) -> None:
    ((before,), (after,)) = _computed(GRAPH, pixels), _computed(JOINED, pixels)
    assert before.max() > 0.9  # there is text
    assert np.abs(before - after).max() < 1e-4


def test_every_activation_and_every_scale_is_joined() -> None:
    ops = [Counter(node.op_type for node in onnx.load_from_string(graph).graph.node) for graph in (GRAPH, JOINED)]
    named = ("Clip", "Div", "HardSigmoid", "Mul", "Add", "BatchNormalization")
    assert [24, 24, 10, 86, 89, 3] == [ops[0][op] for op in named]
    assert [0, 0, 34, 34, 13, 55] == [ops[1][op] for op in named]


def test_what_somebody_else_wants_too_is_left_alone(pixels: NDArray[np.float32]) -> None:
    model = onnx.load_from_string(GRAPH)
    clip = next(node for node in model.graph.node if node.op_type == "Clip")
    scale = next(node for node in model.graph.node if node.op_type == "Mul")
    wanted = [clip.output[0], scale.output[0]]
    model.graph.node.extend(onnx.helper.make_node("Identity", [name], [f"{name}.copy"]) for name in wanted)
    joined = onnx.load_from_string(detector.joined_up(model.SerializeToString()))
    made = {name for node in joined.graph.node for name in node.output}
    assert made.issuperset(wanted)
    assert np.abs(_computed(GRAPH, pixels)[0] - _computed(joined.SerializeToString(), pixels)[0]).max() < 1e-4


def test_pixels_are_prepared_as_rapidocr_does() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)
    theirs = DetPreProcess(224, "min")(np.ascontiguousarray(image[:, :, ::-1]))
    ours = detector._Prepared(224, "min")(image)
    assert theirs is not None
    assert theirs.shape == (1, 3, 224, 320)
    assert ours is not None
    assert np.abs(theirs - ours).max() < 1e-6
