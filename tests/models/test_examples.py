from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.models.examples import (
    BadExamples,
    Columns,
    Example,
    Examples,
    image_digests,
    json_list,
    open_image,
    read_examples,
)
from tasks.pictures.decode import BadImage
from tests.models.made import example, image


def _split(folder: Path, **columns: Any) -> Path:
    path = folder / "test-00000-of-00001.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def _guess(path: Path) -> Columns:
    return Columns.guess(path, None, None, None)


def test_rows_come_with_their_texts_labels_and_group(tmp_path: Path) -> None:
    path = _split(
        tmp_path,
        id=["x", "y"],
        text=[" hi ", None],
        image=["a.png", "b.png"],
        labels=[["red"], []],
        split_group=["g", "h"],
    )
    expected = [Example(0, "x", "hi", "a.png", ("red",), "g"), Example(1, "y", "", "b.png", (), "h")]
    assert expected == list(read_examples(path, _guess(path)))


@pytest.mark.parametrize("count", [0, 1, 1_000, 1_001])
def test_rows_are_found_by_their_positions_as_they_are_read_in_order(tmp_path: Path, count: int) -> None:
    numbers = range(count)
    path = _split(
        tmp_path,
        text=pa.array([f" said {n} " if n % 3 else None for n in numbers], pa.string()),
        label=pa.array([["a", '["a", "b"]', None][n % 3] for n in numbers], pa.string()),
        split_group=pa.array([str(n // 2) for n in numbers], pa.string()),
    )
    examples = Examples(path, _guess(path))
    assert list(read_examples(path, _guess(path))) == [examples[row] for row in range(len(examples))]
    assert count == len(examples)


def test_the_word_nan_is_a_text_and_nothing_is_none(tmp_path: Path) -> None:
    path = _split(tmp_path, text=["nan", None, "", "None"], label=["a", None, "nan", "b"])
    found = list(read_examples(path, _guess(path)))
    assert ["nan", "", "", "None"] == [each.text for each in found]
    assert [("a",), None, ("nan",), ("b",)] == [each.labels for each in found]
    assert ["0", "1", "2", "3"] == [each.group for each in found]


def test_a_list_of_labels_may_be_json_text_and_a_label_may_have_brackets(tmp_path: Path) -> None:
    path = _split(tmp_path, text=["a"] * 4, labels=['["red", "blue"]', "[]", " [\n ] ", "[deleted]"])
    assert [("red", "blue"), (), (), ("[deleted]",)] == [each.labels for each in read_examples(path, _guess(path))]


def test_several_columns_of_text_are_joined_and_empty_ones_left_out(tmp_path: Path) -> None:
    path = _split(tmp_path, text=["said", "said"], img_text=["written", ""])
    found = read_examples(path, Columns(("text", "img_text"), "", ""))
    assert ["said\nwritten", "said"] == [each.text for each in found]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": [1.5]}, "row 0: column 'text' holds 1.5, which is no text"),
        ({"text": ["a"], "labels": [[1]]}, r"row 0: column 'labels' holds \[1\], which are no labels"),
        ({"text": ["a"], "label": [3]}, "holds 3, which are no labels"),
        (
            {"text": ["a"], "label": ["['red', 'blue']"]},
            r"holds \"\['red', 'blue'\]\", which are no labels.*as JSON such as",
        ),
        ({"text": ["a"], "image": [{"bytes": b"x" * 10_000}]}, r"holds .{,100}…, which is no text.*an image is a file"),
    ],
)
def test_what_is_neither_text_nor_label_is_named(tmp_path: Path, columns: dict[str, list[Any]], message: str) -> None:
    path = _split(tmp_path, **columns)
    with pytest.raises(BadExamples, match=message):
        list(read_examples(path, _guess(path)))


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    path = _split(tmp_path, text=["a"], label=["b"])
    with pytest.raises(BadExamples, match=r"has no column 'words'\. It has: text, label"):
        Columns.guess(path, ["words"], None, None)
    path = _split(tmp_path, label=["b"])
    with pytest.raises(BadExamples, match="neither text nor images"):
        _guess(path)


def test_an_image_outside_its_folder_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    image().save(tmp_path / "secret.png")
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    for path in ("../secret.png", str(tmp_path / "secret.png"), "link.png"):
        with pytest.raises(BadImage, match=r"Row 7: .* is outside") as raised:
            open_image(tmp_path / "images", example(7, path=path))
        assert "outside" == raised.value.code


def test_an_image_s_path_with_a_zero_byte_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match=r"Row 3: its image 'a\\x00\.png' is no path\. Correct the table\.") as raised:
        open_image(tmp_path, example(3, path="a\0.png"))
    assert "missing" == raised.value.code


def test_an_image_that_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for path in ("none.png", "folder.png", ""):
        with pytest.raises(BadImage, match=r"Row 3: .* cannot be read") as raised:
            open_image(tmp_path, example(3, path=path))
        assert "missing" == raised.value.code


def test_images_that_cannot_be_read_have_no_digest(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(b"there")
    rows = [example(n, path=path) for n, path in enumerate(["there.png", "none.png", "", "a\0.png", "there.png"])]
    there = hashlib.sha256(b"there").hexdigest()
    assert [there, "", "", "", there] == list(image_digests(tmp_path, iter(rows)))


@pytest.mark.parametrize("texts", [[], ["a"], ["a", "", '"ñ"']])
def test_a_list_in_pieces_is_the_json_of_the_list(texts: list[str]) -> None:
    assert json.dumps(texts) == "".join(json_list(texts))
