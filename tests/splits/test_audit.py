"""Splits that others made: leaks are counted and named."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.cli import main
from tasks.splits.build import Wanted, build
from tests.memes.drawn import encoded, meme

PARTS = {
    "train": [{"image": f"{n}.jpg", "text": f"t{n}"} for n in range(8)],
    "val": [{"image": f"{n}.jpg", "text": f"v{n}"} for n in (20, 21)],
    "test": [{"image": f"{n}.jpg", "text": f"e{n}"} for n in (3, 3, 5, 40)],  # three of four rows leak, two images
}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return
    if path.suffix == ".arrow":
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
        return
    text = io.StringIO()
    if ".csv" in path.suffixes or ".tsv" in path.suffixes:
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if ".tsv" in path.suffixes else ",")
        writer.writeheader()
        writer.writerows(rows)
    elif path.suffix.lower() == ".json":
        text.write(json.dumps(rows))
    else:
        text.writelines(f"{json.dumps(row)}\n" for row in rows)
    with pa.output_stream(str(path)) as file:  # packed by its ending
        file.write(text.getvalue().encode())


@pytest.mark.parametrize(
    "names",
    [
        ("train.parquet", "val.parquet", "test.parquet"),
        ("train.csv", "dev.csv", "test.csv"),
        ("train.jsonl", "validation.json", "test.json"),
        (
            "data/train-00000-of-00001.parquet",
            "data/validation-00000-of-00001.parquet",
            "data/test-00000-of-00001.parquet",
        ),
        ("train/part-1.csv", "val/part-1.csv", "test/part-1.csv"),
        ("default/train/0000.parquet", "default/validation/0000.parquet", "default/test/0000.parquet"),
        ("memes_train.csv", "memes-val.jsonl", "All.Test.JSON"),
        ("train.tsv", "val.csv.gz", "test.jsonl.zst"),
        ("train/data-00000-of-00001.arrow", "val/data-00000-of-00001.arrow", "test/data-00000-of-00001.arrow"),
    ],
)
def test_leaks_of_a_foreign_split_are_counted_and_named(
    tmp_path: Path, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rows in zip(names, PARTS.values(), strict=True):
        _write(tmp_path / name, rows)
    assert 1 == main(["verify", str(tmp_path), "--group-by", "image"])
    shown = capsys.readouterr().out
    assert "WRONG  no row of test shares image with train (n = 4): leak 3" in shown
    assert "ok     rows were read: train 8, validation 2, test 4 (n = 14)" in shown
    assert "3 of 4 rows of test (75.0%) share image with train: 2 values, such as 3.jpg, 5.jpg" in shown
    assert "ok     no row of validation shares image with train (n = 2)" in shown
    assert 0 == main(["verify", str(tmp_path), "--group-by", "text"])


def test_rows_without_a_value_are_told_and_none_at_all_is_no_assurance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path / "train.jsonl", [{"image": "a"}, {"image": None}])
    _write(tmp_path / "test.jsonl", [{"image": None}, {"image": ""}, {"image": "b"}])
    assert 0 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert "rows were read: train 2 (1 without image), test 3 (2 without image) (n = 5)" in capsys.readouterr().out
    _write(tmp_path / "test.jsonl", [{"image": None}, {"image": ""}])
    assert 2 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert "No row of the split 'test' has a value in the column 'image'" in capsys.readouterr().err


def test_what_datasets_computed_from_rows_and_left_beside_them_is_no_part_of_a_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        _write(tmp_path / split / "data-00000-of-00001.arrow", [{"image": "a.jpg"}])
        _write(tmp_path / split / "cache-c3e5684088a344b7.arrow", [{"tokens": 3}])
    assert 1 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert "rows were read: train 1, test 1 (n = 2)" in capsys.readouterr().out


def test_near_images_are_leaks_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path / "train.jsonl", [{"phash": "00000000000000ff"}, {"phash": "ffffffff00000000"}])
    _write(tmp_path / "test.jsonl", [{"phash": "00000000000000f0"}, {"phash": "00ff00ff00ff00ff"}, {"phash": None}])
    assert 1 == main(["verify", str(tmp_path), "--group-by", "phash"])
    assert (
        "1 of 3 rows of test (33.3%) share phash with train: 1 values, such as 00000000000000f0"
        in capsys.readouterr().out
    )
    assert 0 == main(["verify", str(tmp_path), "--group-by", "phash", "--distance", "3"])


def test_what_cannot_be_audited_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(tmp_path / "train.csv", PARTS["train"])
    assert 2 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert "holds no two splits: files or folders with train, val (or validation, dev) and" in capsys.readouterr().err
    assert 2 == main(["verify", str(tmp_path / "train.csv"), "--group-by", "image"])
    assert "is one file, and names no splits in a column 'split'. Give the folder that" in capsys.readouterr().err
    assert 2 == main(["verify", str(tmp_path / "gone"), "--group-by", "image"])
    assert "gone does not exist. Give the folder that holds" in capsys.readouterr().err
    (tmp_path / "test.csv").write_text("image,text\n")
    assert 2 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert f"The split 'test' holds no row: {tmp_path / 'test.csv'}." in capsys.readouterr().err
    assert 2 == main(["verify", str(tmp_path), "--group-by", "phash", "--distance", "-3"])
    assert "distance=-3 is no number of bits from 0 to 16" in capsys.readouterr().err
    _write(tmp_path / "test.csv", PARTS["test"])
    assert 2 == main(["verify", str(tmp_path), "--group-by", "picture"])
    assert "train.csv has no column 'picture'; it has image, text. Give one of them" in capsys.readouterr().err
    (tmp_path / "test.csv").unlink()
    (tmp_path / "test.jsonl").write_text('{"image": ')
    assert 2 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert "test.jsonl cannot be read to its end as JSONL" in capsys.readouterr().err
    (tmp_path / "test.jsonl").write_text('{"image": [1]}\n')
    assert 2 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert "row 0, column 'image' is list; groups are told apart by text or whole numbers." in capsys.readouterr().err
    assert 2 == main(["verify", str(tmp_path)])
    assert "for splits that others made give --group-by COLUMN too." in capsys.readouterr().err


def test_what_lies_beside_the_tables_is_not_read_as_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test"):
        _write(tmp_path / split / "data-00000-of-00001.arrow", PARTS[split])
        (tmp_path / split / "dataset_info.json").write_text("{}")
        (tmp_path / f"._{split}.csv").write_bytes(b"\0")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert 1 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert "3 of 4 rows of test (75.0%) share image with train" in capsys.readouterr().out


def test_images_that_tables_hold_themselves_are_compared_by_their_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path / "train.parquet", [{"image": {"bytes": bytes([n]), "path": f"{n}.jpg"}} for n in range(8)])
    again = [{"bytes": b"\3", "path": "30.jpg"}, {"bytes": b"\x33", "path": "3.jpg"}, None]
    _write(tmp_path / "test.parquet", [{"image": image} for image in again])
    assert 1 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert "1 of 3 rows of test (33.3%) share image with train: 1 values" in capsys.readouterr().out


def test_folders_of_images_are_compared_by_bytes_or_by_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, image in (("train/toxic/test_1.png", meme("ДА")), ("train/fine/2.JPG", meme("НЕТ", seed=7))):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(encoded(image))
    (tmp_path / "test" / "toxic").mkdir(parents=True)
    (tmp_path / "test" / "toxic" / "a.png").write_bytes(encoded(meme("ДА")))
    (tmp_path / "test" / "toxic" / "b.jpg").write_bytes(encoded(meme("НЕТ", seed=7), "JPEG"))
    assert 1 == main(["verify", str(tmp_path), "--group-by", "image", "--group-by", "phash"])
    shown = capsys.readouterr().out
    assert "rows were read: train 2, test 2 (n = 4)" in shown
    assert "1 of 2 rows of test (50.0%) share image with train" in shown
    assert "2 of 2 rows of test (100.0%) share phash with train" in shown
    assert 2 == main(["verify", str(tmp_path), "--group-by", "text"])
    assert "is an image, not a table. Give image (equal bytes) or phash" in capsys.readouterr().err
    (tmp_path / "test" / "toxic" / "c.png").write_bytes(b"")
    assert 2 == main(["verify", str(tmp_path), "--group-by", "phash"])
    assert "c.png is empty. Download it again. Or compare the bytes: --group-by image." in capsys.readouterr().err


def test_images_in_a_table_are_held_against_each_other_by_their_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(split: str, *content: bytes) -> None:
        _write(
            tmp_path / f"{split}.parquet", [{"label": 0, "image": {"bytes": each, "path": None}} for each in content]
        )

    image = meme("ДОБРОЕ УТРО")
    write("train", encoded(image), encoded(meme(seed=1)))
    write("test", encoded(image, "WEBP", quality=60), encoded(meme(seed=2)))
    assert 0 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert 1 == main(["verify", str(tmp_path), "--group-by", "phash"])
    assert "1 of 2 rows of test (50.0%) share phash with train" in capsys.readouterr().out
    write("test", encoded(image), b"no image")
    assert 2 == main(["verify", str(tmp_path), "--group-by", "phash"])
    assert "test.parquet, row 1: the image is none of BMP" in capsys.readouterr().err


def test_a_table_that_names_its_splits_is_compared_with_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{**row, "split": split} for split, some in PARTS.items() for row in some]
    table = tmp_path / "all.parquet"
    _write(table, [*rows, {"image": "3.jpg", "text": "of no split", "split": None}])
    assert 1 == main(["verify", str(table), "--group-by", "image"])
    shown = capsys.readouterr().out
    assert "rows were read: train 8, validation 2, test 4 (n = 14)" in shown
    assert "3 of 4 rows of test (75.0%) share image with train: 2 values, such as 3.jpg, 5.jpg" in shown
    _write(table, [{**row, "split": "restval"} for row in rows])
    assert 2 == main(["verify", str(table), "--group-by", "image"])
    assert "the column 'split' holds 'restval', which is none of train, validation, test." in capsys.readouterr().err


@pytest.fixture
def version(tmp_path: Path) -> Path:
    table = tmp_path / "tables" / "t.parquet"
    _write(table, [{"image": f"{n // 2}.jpg", "text": f"t{n}"} for n in range(200)])
    return build(table, tmp_path / "datasets", "t", Wanted(("image",))).folder


def test_a_dataset_of_ours_is_verified_by_its_certificate(
    version: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (version, version.parent, tmp_path / "datasets"):
        assert 0 == main(["verify", str(path)])
        shown = capsys.readouterr().out
        assert "ok     every file is the one that was certified (n = 4)" in shown
        assert "ok     the version is named by its content and parameters (n = 1)" in shown
        assert "ok     no row of test shares image with train (n = " in shown


def test_a_dataset_that_was_changed_is_found(version: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, test = (version / "data" / f"{split}-00000-of-00001.parquet" for split in ("train", "test"))
    test.write_bytes(train.read_bytes())
    assert 1 == main(["verify", str(version)])
    shown = capsys.readouterr().out
    assert "data/test-00000-of-00001.parquet has another SHA-256" in shown
    assert "rows of test (100.0%) share image with train" in shown
    assert "Next: move the folder away and build the dataset again; a version is never overwritten." in shown


def test_a_certificate_that_was_edited_is_found(version: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificate = version / "certificate.json"
    certificate.write_text(certificate.read_text().replace('"seed": 0', '"seed": 1'))
    assert 1 == main(["verify", str(version)])
    assert f"the certificate says {version.name}, its parameters give" in capsys.readouterr().out
    certificate.write_text(
        certificate.read_text().replace('"seed": 1', '"seed": 0').replace('"left_out": 0', '"left_out": 7')
    )
    counted = json.loads(certificate.read_text())["splits"]["test"]["rows"]
    certificate.write_text(
        certificate.read_text().replace(f'"rows": {counted},\n      "groups"', '"rows": 999,\n      "groups"')
    )
    assert 1 == main(["verify", str(version)])
    shown = capsys.readouterr().out
    assert "WRONG  rows, groups and labels are as many as were certified (n = 200): counts 2" in shown
    assert "test: {'rows': 999, " in shown
    assert "left out: 7 certified, 0 in the file" in shown
    certificate.write_text("{")
    assert 1 == main(["verify", str(version)])
    assert "certificate.json is damaged" in capsys.readouterr().out
