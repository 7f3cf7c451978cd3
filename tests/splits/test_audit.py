"""Splits that others made: leaks are counted and named."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.cli import main
from tasks.splits.build import Wanted, build

PARTS = {
    "train": [{"image": f"{n}.jpg", "text": f"t{n}"} for n in range(8)],
    "val": [{"image": f"{n}.jpg", "text": f"v{n}"} for n in (20, 21)],
    "test": [{"image": f"{n}.jpg", "text": f"e{n}"} for n in (3, 3, 5, 40)],  # three of four rows leak, two images
}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["image", "text"])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


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
    assert "3 of 4 rows of test (75.0%) share image with train: 2 values, such as 3.jpg, 5.jpg" in shown
    assert "ok     no row of validation shares image with train (n = 2)" in shown
    assert 0 == main(["verify", str(tmp_path), "--group-by", "text"])


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
    assert "holds no two splits: files or folders whose names begin with train, val" in capsys.readouterr().err
    assert 2 == main(["verify", str(tmp_path / "train.csv"), "--group-by", "image"])
    assert "is no folder. Give the one that holds the files of train, val and test." in capsys.readouterr().err
    _write(tmp_path / "test.csv", PARTS["test"])
    assert 2 == main(["verify", str(tmp_path), "--group-by", "picture"])
    assert "test.csv has no column 'picture'; it has image, text. Give one of them" in capsys.readouterr().err
    (tmp_path / "test.csv").unlink()
    (tmp_path / "test.jsonl").write_text('{"image": ')
    assert 2 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert "test.jsonl cannot be read to its end as JSONL" in capsys.readouterr().err
    (tmp_path / "test.jsonl").write_text('{"image": [1]}\n')
    assert 2 == main(["verify", str(tmp_path), "--group-by", "image"])
    assert "row 0, column 'image' is list; groups are told apart by text or whole numbers." in capsys.readouterr().err
    assert 2 == main(["verify", str(tmp_path)])
    assert "for splits that others made give --group-by COLUMN too." in capsys.readouterr().err


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
    certificate.write_text("{")
    assert 1 == main(["verify", str(version)])
    assert "certificate.json is damaged" in capsys.readouterr().out
