from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.models.examples import BadExamples, Columns, Example, open_image, read_examples
from tasks.pictures.decode import BadImage
from tests.models.made import example, image


def _split(folder: Path, **columns: list[Any]) -> Path:
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
