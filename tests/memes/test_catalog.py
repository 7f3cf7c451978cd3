from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.memes.catalog import BadMeme, BadSource, Meme, read_catalog
from tasks.memes.plan import plan

LABELS = {"Негативно": "toxic", "Нейтрально": "non_toxic"}


def _put(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())
    return folder


def _labels(source: Path, labels: Mapping[str, str], images: Path | None = None) -> list[tuple[str, str | None]]:
    return [(item.path, item.label) for item in read_catalog(source, labels, images) if isinstance(item, Meme)]


def _bad(source: Path, labels: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    return [(item.error, item.message) for item in read_catalog(source, labels or {}) if isinstance(item, BadMeme)]


def _csv(folder: Path, text: str) -> Path:
    path = folder / "memes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_first_folder_names_the_label(tmp_path: Path) -> None:
    _put(tmp_path, "Нейтрально/b.png", "Негативно/2023/a.png", ".hidden/c.png", "Негативно/.DS_Store")
    expected = [("Негативно/2023/a.png", "toxic"), ("Нейтрально/b.png", "non_toxic")]
    assert expected == _labels(tmp_path, LABELS)


def test_without_a_table_of_labels_they_are_the_folders_names(tmp_path: Path) -> None:
    assert [("a.png", None), ("x/b.png", "x")] == _labels(_put(tmp_path, "x/b.png", "a.png"), {})


def test_a_mac_s_way_to_write_a_folder_is_the_same_folder(tmp_path: Path) -> None:
    folder = unicodedata.normalize("NFD", "Нейтрально")
    assert [(f"{folder}/a.png", "non_toxic")] == _labels(_put(tmp_path, f"{folder}/a.png"), LABELS)
    assert [(f"{folder}/a.png", "Нейтрально")] == _labels(tmp_path, {})


@pytest.mark.parametrize(("written", "named"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_table_finds_the_images_whose_names_macos_wrote(
    tmp_path: Path, written: Literal["NFC", "NFD"], named: Literal["NFC", "NFD"]
) -> None:
    file = unicodedata.normalize(written, "зайчик.png")
    table = _csv(_put(tmp_path, file), f"image,label\n{unicodedata.normalize(named, 'зайчик.png')},toxic\n")
    assert [(file, "toxic")] == _labels(table, {})


def test_an_unknown_folder_is_rejected_by_name(tmp_path: Path) -> None:
    _put(tmp_path, "a.png", "Негативно/b.png", "Прочее/c.png")
    known = "that `labels` knows (Негативно, Нейтрально). Add it there."
    assert [
        ("unknown-label", f"Row 0, a.png: it has no label {known}"),
        ("unknown-label", f"Row 2, Прочее/c.png: 'Прочее' is no label {known}"),
    ] == _bad(tmp_path, LABELS)


def test_every_row_has_its_position_size_and_hash(tmp_path: Path) -> None:
    (meme,) = read_catalog(_put(tmp_path, "x/a.png"), {})
    assert Meme(0, "x/a.png", "c6a5782c253555b9d96f2fd4e14731ed7be7f0c686838dcdd50869bfe30432d0", 7, "x") == meme


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_names_images(tmp_path: Path, kind: str) -> None:
    _put(tmp_path, "i/a.png", "i/b.png")
    rows = [{"image": "i/a.png", "label": "toxic"}, {"image": "i/b.png", "label": "Нейтрально"}]
    path = tmp_path / f"memes.{kind}"
    if kind == "csv":
        path.write_text("\ufeffimage,label\n" + "".join(f"{row['image']},{row['label']}\n" for row in rows))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    assert [("i/a.png", "toxic"), ("i/b.png", "non_toxic")] == _labels(path, LABELS)


def test_a_table_s_images_may_lie_elsewhere(tmp_path: Path) -> None:
    _put(tmp_path / "elsewhere", "a.png")
    assert [("a.png", None)] == _labels(_csv(tmp_path, "file\na.png\n"), {}, tmp_path / "elsewhere")


@pytest.mark.parametrize("column", ["filename", "file_name", "img"])
def test_tables_that_others_made_name_images_in_their_own_way(tmp_path: Path, column: str) -> None:
    _put(tmp_path, "a.png")
    assert [("a.png", "toxic")] == _labels(_csv(tmp_path, f"{column},label\na.png,toxic\n"), {})


def test_a_blank_behind_a_comma_is_no_part_of_a_column_s_name_nor_of_a_label(tmp_path: Path) -> None:
    _put(tmp_path, "a.png", "b.png")
    table = _csv(tmp_path, 'image, label\na.png, toxic\nb.png, "not, toxic"\n')
    assert [("a.png", "toxic"), ("b.png", "not, toxic")] == _labels(table, {})


def test_a_comma_without_quotes_moves_no_label(tmp_path: Path) -> None:
    _put(tmp_path, "a.png", "b.png", "c.png")
    table = _csv(tmp_path, "image,text,label\na.png,hello, world,toxic\nb.png\nc.png,hello,toxic,\n")
    assert [("c.png", "toxic")] == _labels(table, {})
    told = "has not 3 cells, as the first line has. Put quotes around a cell that holds ','."
    assert [("bad-row", f"Row 0: line 2 {told}"), ("bad-row", f"Row 1: line 3 {told}")] == _bad(table)


@pytest.mark.parametrize("column", ["labels", "Label", " label"])
def test_labels_in_a_column_of_nearly_that_name_are_not_passed_over(tmp_path: Path, column: str) -> None:
    lines = tmp_path / "memes.jsonl"
    row = json.dumps({"image": "a.png", column: "toxic"})
    for before in ("", "{no JSON\n"):  # the first row that can be read says which columns there are
        lines.write_text(before + row, encoding="utf-8")
        with pytest.raises(BadSource, match="so no image would have a label"):
            list(read_catalog(lines, {}))


def test_a_table_of_excel_s_has_semicolons_where_a_comma_stands_in_numbers(tmp_path: Path) -> None:
    _put(tmp_path, "a.png", "b;1.png")
    table = _csv(tmp_path, '\ufeffimage;label\r\na.png;плохо, но смешно\r\n"b;1.png";toxic\r\n')
    assert [("a.png", "плохо, но смешно"), ("b;1.png", "toxic")] == _labels(table, {})


def test_absolute_paths_below_the_folder_are_paths_below_it(tmp_path: Path) -> None:
    _put(tmp_path, "x/a.png")
    assert [("x/a.png", None)] == _labels(_csv(tmp_path, f"image\n{tmp_path}/x/a.png\n"), {})
    assert ["duplicate-row"] == [code for code, _ in _bad(_csv(tmp_path, f"image\nx/a.png\n{tmp_path}/x/a.png\n"))]
    (refused,) = _bad(_csv(tmp_path, f"image\nx/a.png\n{tmp_path}/../a.png\n"))
    assert "outside" == refused[0]


def test_a_label_that_is_a_number_is_the_same_in_every_kind_of_table(tmp_path: Path) -> None:
    _put(tmp_path, "a.png", "b.png")
    rows = [{"image": "a.png", "label": 1}, {"image": "b.png", "label": 0}]
    lines, table = tmp_path / "memes.jsonl", tmp_path / "memes.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), table)
    for source in (lines, table, _csv(tmp_path, "image,label\na.png,1\nb.png,0\n")):
        assert [("a.png", "toxic"), ("b.png", "non_toxic")] == _labels(source, {"1": "toxic", "0": "non_toxic"})


def test_a_table_that_holds_the_images_themselves_is_named_without_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "memes.parquet"
    image = {"bytes": b"\xff\xd8" * 1000, "path": "a.png"}
    pq.write_table(pa.Table.from_pylist([{"image": image, "label": "toxic"}]), path)
    with pytest.raises(BadSource, match="is struct<bytes: binary, path: string>, not paths"):
        list(read_catalog(path, {}))
    _put(tmp_path, "a.png")
    pq.write_table(pa.Table.from_pylist([{"image": image, "file_name": "a.png", "label": "toxic"}]), path)
    assert [("a.png", "toxic")] == _labels(path, {})
    (tmp_path / "memes.jsonl").write_text(json.dumps({"image": {"bytes": "A" * 1000}}) + "\n")
    assert 150 > len(_bad(tmp_path / "memes.jsonl")[0][1])


def test_bad_rows_of_a_table_are_named(tmp_path: Path) -> None:
    _put(tmp_path, "a.png")
    assert [
        ("duplicate-row", "Row 1, a.png: row 0 names it already."),
        ("missing-image", f"Row 2, b.png: is not there, below {tmp_path}."),
        ("outside", "Row 3, ../a.png: leads out of the folder of images. Give a path below it."),
        ("outside", "Row 4, /etc/passwd: leads out of the folder of images. Give a path below it."),
        ("outside", "Row 5, x\\..\\..\\a.png: leads out of the folder of images. Give a path below it."),
        ("bad-row", "Row 6: its image is '', not a path."),
    ] == _bad(_csv(tmp_path, 'image\na.png\na.png\nb.png\n../a.png\n/etc/passwd\nx\\..\\..\\a.png\n""\n'))


def test_a_label_that_is_nan_or_no_text_is_refused(tmp_path: Path) -> None:
    _put(tmp_path, "a.png")
    path = tmp_path / "memes.jsonl"
    path.write_text('{"image": "a.png", "label": NaN}\n[1]\n{"image": 7}\n{"image": "a.png", "label": true}\nno\n')
    assert [
        ("bad-row", "Row 0, a.png: its label is nan, not text."),
        ("bad-row", "Row 1: is no object with a field `image`."),
        ("bad-row", "Row 2: its image is 7, not a path."),
        ("bad-row", "Row 3, a.png: its label is True, not text."),
        ("bad-row", "Row 4: is no object with a field `image`."),
    ] == _bad(path)


def test_half_a_character_in_a_path_or_a_label_costs_its_row_alone(tmp_path: Path) -> None:
    _put(tmp_path, "a.png", "b.png")
    path = tmp_path / "memes.jsonl"
    path.write_text(
        '{"image": "\\ud83d.png"}\n{"image": "a.png", "label": "\\ud83d"}\n{"image": "a\\u0000.png"}\n{"image": "b.png"}\n'
    )
    assert [
        ("not-unicode", "Row 0: its image is '\\ud83d.png', with half a character in it."),
        ("bad-row", "Row 1, a.png: its label is '\\ud83d', with half a character in it."),
        ("bad-row", "Row 2: its image is 'a\\x00.png', not a path."),
    ] == _bad(path)
    manifest = plan(path, None, tmp_path / "jobs", 2, {"labels": {}}, {})
    assert (4, 3) == (manifest.rows, manifest.rejected)


def test_a_json_array_is_told_how_to_become_lines(tmp_path: Path) -> None:
    path = tmp_path / "memes.json"
    path.write_text('[{"image": "a.png"}]')
    with pytest.raises(BadSource, match=r"memes\.json is a JSON array\. Write one object a line \(pandas: to_json"):
        list(read_catalog(path, {}))


def test_links_to_folders_pipes_and_odd_names_are_refused(tmp_path: Path) -> None:
    _put(tmp_path / "x", "a.png")
    (tmp_path / "x" / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "x" / "pipe.png")
    Path(os.fsdecode(bytes(tmp_path / "x") + b"/\xff.png")).write_bytes(b"")
    assert [
        ("not-a-file", "Row 1, x/link: is no plain file. Put the image itself there."),
        ("not-a-file", "Row 2, x/pipe.png: is no plain file. Put the image itself there."),
        ("not-unicode", "Row 3, x/\\xff.png: its name is not UTF-8. Rename it."),
    ] == _bad(tmp_path)


def test_a_source_that_is_none_is_an_error(tmp_path: Path) -> None:
    def said(source: Path, images: Path | None = None) -> str:
        with pytest.raises(BadSource) as caught:
            list(read_catalog(source, {}, images))
        return str(caught.value)

    gone = tmp_path / "gone"
    assert f"{gone} does not exist. Give a folder of images, or a table, as the worker sees it." == said(gone)
    assert f"{tmp_path} has no files. Give a folder with images in it." == said(tmp_path)
    assert "`images` is for a table" in said(tmp_path, tmp_path)
    table = _csv(tmp_path, "picture,label\na.png,x\n")
    columns = "'image' or 'image_path' or 'path' or 'file' or 'filename' or 'file_name' or 'img'"
    assert f"{table} has no column {columns}; it has picture, label." == said(table)
    assert f"images={str(gone)!r} is no folder on this machine" in said(table, gone)
    table.write_bytes("image\nй.png\n".encode("cp1251"))
    assert f"{table} cannot be read to its end: 'utf-8' codec can't decode" in said(table)
