"""PP-OCR's detector: where lines of text are in a picture, four corners each.

The weights come in the wheel of rapidocr-onnxruntime, and so does the way from its map of text to boxes. In its graph an
activation takes four passes over the pixels, a scale and shift two, and onnxruntime does not join them. They are joined
here, before it loads the graph (docs/decisions.md, "Reading memes in less time")::

    Add 3, Clip 0..6, Mul, Div 6   ->  HardSigmoid, Mul     which onnxruntime puts into the convolution before them
    Mul a number, Add a number     ->  BatchNormalization   which it puts there too, or makes a small one of
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import rapidocr_onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from rapidocr_onnxruntime.ch_ppocr_det.utils import DetPreProcess

WEIGHTS = Path(rapidocr_onnxruntime.__file__).parent / "models" / "ch_PP-OCRv4_det_infer.onnx"
SHORT_SIDE = 672  # pixels to which a picture's short side is enlarged

Detect = Callable[[NDArray[np.uint8]], tuple[NDArray[np.int32] | None, float]]


@lru_cache(maxsize=1)
def open_detector() -> tuple[Detect, str]:
    """The detector, for one thread at a time, and the digest of its weights. It takes RGB."""
    content = WEIGHTS.read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # pictures are of many sizes
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(joined_up(content), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    detect = rapidocr_onnxruntime.RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1).text_det
    detect.get_preprocess = lambda longest: _Prepared(SHORT_SIDE, "min")
    detect.infer = lambda pixels: session.run(None, {given.name: pixels})
    return detect, hashlib.sha256(content).hexdigest()[:8]


class _Prepared(DetPreProcess):  # type: ignore[misc]
    """What rapidocr computes in five passes of float64, in one: RGB bytes to BGR from -1 to 1."""

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        sized = self.resize(image)
        if sized is None:
            return None
        return np.asarray(cv2.dnn.blobFromImage(sized, 1 / 127.5, mean=(127.5,) * 3, swapRB=True), np.float32)


def joined_up(content: bytes) -> bytes:
    """A graph in ONNX with each activation, and each scale and shift, in one piece: equal but for rounding."""
    model = onnx.load_from_string(content)
    graph = model.graph
    constants = [node for node in graph.node if node.op_type == "Constant"]
    tensors = {node.output[0]: node.attribute[0].t for node in constants}
    nodes = [node for node in graph.node if node.op_type != "Constant"]
    uses = Counter(name for node in nodes for name in node.input)
    channels: dict[str, int] = {}
    joined: list[Any] = []
    while nodes:
        if _is_hard_swish(nodes[:4], tensors, uses):
            add, _, _, last = nodes[:4]
            new = [
                helper.make_node("HardSigmoid", add.input[:1], add.output, alpha=1 / 6, beta=0.5),
                helper.make_node("Mul", [add.input[0], add.output[0]], last.output),
            ]
            del nodes[:4]
        elif _is_scale_and_shift(nodes[:2], tensors, uses) and nodes[0].input[1] in channels:
            mul, add = nodes[:2]
            numbers = [_number(tensors, mul.input[0]), _number(tensors, add.input[1]), 0, 1]
            names = [f"{add.output[0]}.{part}" for part in ("scale", "shift", "mean", "variance")]
            for name, number in zip(names, numbers, strict=True):
                data = np.full(channels[mul.input[1]], number, np.float32)
                graph.initializer.append(numpy_helper.from_array(data, name))
            new = [helper.make_node("BatchNormalization", [mul.input[1], *names], add.output, epsilon=0.0)]
            del nodes[:2]
        else:
            new = [nodes.pop(0)]
        for node in new:
            if node.op_type == "Conv":
                channels[node.output[0]] = tensors[node.input[1]].dims[0]
            elif known := [channels[name] for name in node.input if name in channels]:
                channels[node.output[0]] = known[0]
        joined += new
    del graph.node[:]
    graph.node.extend([*constants, *joined])
    return bytes(model.SerializeToString())


def _is_hard_swish(nodes: Sequence[Any], tensors: Mapping[str, Any], uses: Mapping[str, int]) -> bool:
    """Whether they are x * min(max(x + 3, 0), 6) / 6, and nobody else wants what lies between."""
    if [node.op_type for node in nodes] != ["Add", "Clip", "Mul", "Div"]:
        return False
    add, clip, mul, div = nodes
    return (
        _number(tensors, add.input[1]) == 3
        and [clip.input[0], *(_number(tensors, name) for name in clip.input[1:])] == [add.output[0], 0, 6]
        and list(mul.input) == [add.input[0], clip.output[0]]
        and [div.input[0], _number(tensors, div.input[1])] == [mul.output[0], 6]
        and all(uses[node.output[0]] == 1 for node in nodes[:-1])
    )


def _is_scale_and_shift(nodes: Sequence[Any], tensors: Mapping[str, Any], uses: Mapping[str, int]) -> bool:
    """Whether they are a * x + b with two numbers, and nobody else wants a * x."""
    if [node.op_type for node in nodes] != ["Mul", "Add"]:
        return False
    mul, add = nodes
    numbers = _number(tensors, mul.input[0]), _number(tensors, add.input[1])
    return None not in numbers and add.input[0] == mul.output[0] and uses[mul.output[0]] == 1


def _number(tensors: Mapping[str, Any], name: str) -> float | None:
    """The only number of a constant."""
    array = numpy_helper.to_array(tensors[name]) if name in tensors else None
    return float(array.item()) if array is not None and array.size == 1 else None
