"""A version is whole, never written twice, and says what it is."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from tasks.splits.build import GROUP, Dataset, Leaking, VersionChanged, Wanted, build, check_version
from tasks.splits.keys import BadTable
from tasks.storage.errors import TornFile
from tasks.storage.schemas import MMHS
from tasks.storage.tables import write_table

ROWS = 300
BY_IMAGE = Wanted(("image",))


def _row(n: int) -> dict[str, Any]:
    labels = [["racist"], [], ["sexist", "racist"]][n % 3]
    image = f"img_resized/{n // 2}.jpg"  # two rows each
    return {"row": n, "id": str(n), "image": image, "text": f"tweet {n}", "labels": labels, "split": None}


def _table(path: Path, rows: list[dict[str, Any]]) -> Path:
    return write_table(pa.Table.from_pylist(rows, MMHS.columns), path, MMHS, {})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = _table(tmp_path / "tables" / "mmhs.parquet", [_row(n) for n in range(ROWS)])
    provenance = {"source": {"name": "MMHS150K", "url": "https://example.org"}, "licence": "cc-by-nc-4.0"}
    path.with_suffix(".provenance.json").write_text(json.dumps(provenance))
    return path


@pytest.fixture
def dataset(table: Path, tmp_path: Path) -> Dataset:
    return build(table, tmp_path / "datasets", "mmhs", BY_IMAGE)


def _rows(folder: Path, split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "data" / f"{split}-00000-of-00001.parquet").to_pylist()
    return rows


def test_every_row_stands_in_one_split_and_no_group_in_two(dataset: Dataset) -> None:
    parts = {split: _rows(dataset.folder, split) for split in ("train", "validation", "test")}
    assert sorted(row["row"] for rows in parts.values() for row in rows) == list(range(ROWS))
    groups = [{row[GROUP] for row in rows} for rows in parts.values()]
    assert ROWS // 2 == sum(map(len, groups)) == len(set.union(*groups))
    assert all(row[GROUP] == row["image"] for rows in parts.values() for row in rows)
    assert {split: len(rows) for split, rows in parts.items()} == {
        split: counts["rows"] for split, counts in dataset.certificate["splits"].items()
    }


def test_the_certificate_says_what_was_counted_and_looked_for(dataset: Dataset) -> None:
    certificate = json.loads((dataset.folder / "certificate.json").read_bytes())
    assert certificate == dataset.certificate
    assert 0 == certificate["leaks"]["found"]
    assert "every two files were read again and their values compared" == certificate["leaks"]["how"]
    assert {("image", "test", "train"), ("split_group", "validation", "train")} <= {
        (each["column"], each["split"], each["other"]) for each in certificate["leaks"]["looked"]
    }
    labels = [split["labels"] for split in certificate["splits"].values()]
    assert (200, 100) == tuple(sum(each[label] for each in labels) for label in ("racist", "sexist"))
    assert 0.8 == certificate["random_split"]  # each row has one other


def test_the_same_again_is_found_and_anything_else_is_another_version(table: Path, tmp_path: Path) -> None:
    datasets = tmp_path / "datasets"
    first = build(table, datasets, "mmhs", BY_IMAGE)
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    assert first == build(table, datasets, "mmhs", BY_IMAGE)
    assert before == {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}

    other_seed = build(table, datasets, "mmhs", Wanted(("image",), seed=1))
    _table(table, [_row(n) for n in range(ROWS + 2)])
    more_rows = build(table, datasets, "mmhs", BY_IMAGE)
    assert 3 == len({first.folder, other_seed.folder, more_rows.folder})
    where = {row["row"]: split for split in ("train", "validation", "test") for row in _rows(first.folder, split)}
    now = {row["row"]: split for split in ("train", "validation", "test") for row in _rows(more_rows.folder, split)}
    assert where == {row: split for row, split in now.items() if row < ROWS}


def test_equal_work_gives_equal_bytes(table: Path, tmp_path: Path, dataset: Dataset) -> None:
    again = build(table, tmp_path / "elsewhere", "mmhs", BY_IMAGE)
    assert {path.relative_to(dataset.folder): path.read_bytes() for path in dataset.folder.rglob("*.*")} == {
        path.relative_to(again.folder): path.read_bytes() for path in again.folder.rglob("*.*")
    }


def test_a_version_that_was_changed_is_named_and_not_overwritten(table: Path, dataset: Dataset) -> None:
    card = dataset.folder / "README.md"
    card.write_text("mine")
    (dataset.folder / "data" / "test-00000-of-00001.parquet").unlink()
    (dataset.folder / "notes.txt").write_text("x")
    with pytest.raises(VersionChanged) as changed:
        build(table, dataset.folder.parents[1], "mmhs", BY_IMAGE)
    assert (
        f"{dataset.folder} was changed after it had been written: README.md has another SHA-256; "
        "data/test-00000-of-00001.parquet is missing; notes.txt was added. A version is never overwritten: move the folder "
        "away, and run build-splits again to make it anew."
    ) == str(changed.value)
    assert "mine" == card.read_text()


def test_hidden_files_are_no_part_of_a_version(dataset: Dataset) -> None:
    for name in (".DS_Store", "data/._train.parquet", ".git/config", ".cache/huggingface/x.metadata"):
        (dataset.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset.folder / name).write_bytes(b"x")
    assert dataset.certificate == check_version(dataset.folder)


def test_a_certificate_that_is_missing_or_damaged_is_named(dataset: Dataset) -> None:
    path = dataset.folder / "certificate.json"
    path.write_text("{")
    with pytest.raises(TornFile, match=r"certificate\.json is damaged .* build it again\."):
        check_version(dataset.folder)
    path.unlink()
    with pytest.raises(TornFile, match=r"has no certificate\.json, so it is no version of a dataset"):
        check_version(dataset.folder)


def test_the_card_s_front_matter_and_its_code_work(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import DatasetCard

    text = (dataset.folder / "README.md").read_text("utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert ("cc-by-nc-4.0", "mmhs", ["n<1K"]) == (front["license"], front["pretty_name"], front["size_categories"])
    assert "cc-by-nc-4.0" == DatasetCard.load(dataset.folder / "README.md").data.license
    assert "whose source is MMHS150K (https://example.org). Licence: cc-by-nc-4.0, the source's." in text

    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(dataset.folder)
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)  # our own card
    assert dict(names["rows"].num_rows) == {
        split: counts["rows"] for split, counts in dataset.certificate["splits"].items()
    }
    assert "'text': 'tweet " in capsys.readouterr().out


def test_images_and_names_of_classes_stay_what_datasets_wrote(tmp_path: Path) -> None:
    import datasets

    kinds = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["safe", "hate"]),
            "split": datasets.Value("string"),
        }
    )
    splits = ["train", "validation", "test"]
    rows = {"image": [Image.new("RGB", (9, 9), (n, 0, 0)) for n in range(3)], "label": [0, 1, 1], "split": splits}
    datasets.Dataset.from_dict(rows, kinds).to_parquet(tmp_path / "t.parquet")
    folder = build(tmp_path / "t.parquet", tmp_path / "datasets", "t", BY_IMAGE).folder
    for split in splits:
        schema = pq.read_schema(folder / f"data/{split}-00000-of-00001.parquet")
        found = datasets.Features.from_arrow_schema(schema)
        assert {"image": kinds["image"], "label": kinds["label"]} == {name: found[name] for name in ("image", "label")}
        assert {"official_split", "split_group"} == found.keys() - {"image", "label"}


def test_a_label_with_a_bar_or_a_line_break_leaves_the_card_s_table_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows = [{"image": f"{n}.jpg", "label": ("a|b", "c\nd")[n % 2]} for n in range(100)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    card = (build(path, tmp_path / "datasets", "t", BY_IMAGE).folder / "README.md").read_text("utf-8")
    assert "| split | rows | groups | a¦b | c d | no label |\n| --- | --- | --- | --- | --- | --- |\n| train | " in card


def test_without_a_provenance_the_licence_is_unknown(table: Path, tmp_path: Path) -> None:
    table.with_suffix(".provenance.json").unlink()
    card = (build(table, tmp_path / "datasets", "mmhs", BY_IMAGE).folder / "README.md").read_text()
    assert "license: unknown\n" in card
    assert "Licence: not known; ask the source before you pass this on." in card


def test_near_duplicates_stay_together_and_the_certificate_says_how_it_looked(tmp_path: Path) -> None:
    near = [f"{n * 0x9E3779B97F4A7C15 % 2**64 ^ twin:016x}" for n in range(150) for twin in (0, 0b11)]
    path = tmp_path / "memes.parquet"
    pq.write_table(
        pa.table({"id": [str(n) for n in range(300)], "phash": near, "label": ["toxic", "non_toxic"] * 150}), path
    )
    dataset = build(path, tmp_path / "datasets", "memes", Wanted(("phash",)))
    assert 150 == sum(split["groups"] for split in dataset.certificate["splits"].values())
    assert "perceptual hashes also with those up to 6 of 64 bits away" in dataset.certificate["leaks"]["how"]
    assert (
        "where perceptual hashes up to 6 of 64 bits apart count as equal" in (dataset.folder / "README.md").read_text()
    )
    by_id = build(path, tmp_path / "datasets", "memes", Wanted(("id",)))
    assert ["id", "phash"] == by_id.certificate["parameters"]["group_by"]
    assert 150 == sum(split["groups"] for split in by_id.certificate["splits"].values())
    numbers = pq.read_table(path).set_column(1, "phash", pa.array([int(value, 16) for value in near], pa.uint64()))
    pq.write_table(numbers, path)
    as_numbers = build(path, tmp_path / "datasets", "memes", Wanted(("phash",)))
    assert dataset.certificate["splits"] == as_numbers.certificate["splits"]


def test_memes_are_grouped_by_image_though_their_table_calls_it_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "memes.parquet"
    rows = [{"path": f"{n}.jpg", "sha256": f"{n // 2:064x}", "label": "toxic"} for n in range(200)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    certificate = build(path, tmp_path / "datasets", "memes", BY_IMAGE).certificate
    assert ["sha256"] == certificate["parameters"]["group_by"]
    assert 100 == sum(split["groups"] for split in certificate["splits"].values())


def test_official_splits_are_kept_or_cleaned(tmp_path: Path) -> None:
    rows = [{**_row(n), "split": ["train", "val", "test"][n // 10 % 3]} for n in range(90)]
    rows[20]["image"] = rows[0]["image"]  # a test image that is in train, twice
    path = _table(tmp_path / "leaking.parquet", rows)
    dataset = build(path, tmp_path / "datasets", "mmhs", Wanted(("image",), official="clean"))
    assert {"train": 28, "validation": 30, "test": 30} == {
        split: counts["rows"] for split, counts in dataset.certificate["splits"].items()
    }
    left = pq.read_table(dataset.folder / "left-out.parquet").to_pylist()
    assert [(0, "train"), (1, "train")] == [(row["row"], row["official_split"]) for row in left]
    card = (dataset.folder / "README.md").read_text()
    assert "The splits are the official ones." in card
    assert "2 rows of official splits share a group with a stronger split" in card


def test_official_rows_are_counted_among_those_that_are_taken(tmp_path: Path) -> None:
    rows = [
        {"image": f"{n}.jpg", "split": ["train", "test"][n % 2] if n < 100 else None, "use": n < 100}
        for n in range(200)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path := tmp_path / "t.parquet")
    dataset = build(path, tmp_path / "datasets", "t", Wanted(("image",), keep="use"))
    assert 100 == dataset.certificate["official_rows"]
    assert "The splits are the official ones." in (dataset.folder / "README.md").read_text()


def test_rows_without_a_key_stand_for_themselves_and_their_copies(tmp_path: Path) -> None:
    rows = [_row(n) for n in range(200)]
    alike = {**rows[0], "image": None}
    path = _table(tmp_path / "t.parquet", [*rows, alike, {**alike, "text": "another"}, alike])
    dataset = build(path, tmp_path / "datasets", "mmhs", BY_IMAGE)
    assert 3 == dataset.certificate["rows_without_key"]
    assert 102 == sum(split["groups"] for split in dataset.certificate["splits"].values())


def test_an_empty_text_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows = [{"image": f"{n}.jpg" if n % 2 else "", "author": "", "text": f"t{n}", "split": ""} for n in range(200)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    for group_by in (("image",), ("image", "author")):
        dataset = build(path, tmp_path / "datasets", "t", Wanted(group_by))
        assert (100, 0) == (dataset.certificate["rows_without_key"], dataset.certificate["official_rows"])
        assert 200 == sum(split["groups"] for split in dataset.certificate["splits"].values())


def test_a_column_that_holds_nothing_at_all_ties_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows = [{"id": n, "image": f"{n // 2}.jpg", "near_duplicate_of": None} for n in range(200)]
    pq.write_table(pa.Table.from_pylist(rows), path)  # of the type null: nothing says what it might hold
    dataset = build(path, tmp_path / "datasets", "t", BY_IMAGE)
    assert 100 == sum(split["groups"] for split in dataset.certificate["splits"].values())


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (
            Wanted(("picture",)),
            "no column 'picture'; it has row, id, image, sha256, text, ocr, votes, labels, split, extra.",
        ),
        (
            Wanted(("labels",)),
            "column 'labels' is list<element: string>; groups are told apart by text or whole numbers.",
        ),
        (Wanted(()), "group_by names no column. Give one, such as image."),
        (Wanted(("image",), label="class"), "has no column 'class'"),
        (Wanted(("image",), distance=40), "distance=40 is no number of bits from 0 to 16"),
    ],
)
def test_a_table_that_cannot_be_split_so_is_named(table: Path, tmp_path: Path, wanted: Wanted, told: str) -> None:
    with pytest.raises(BadTable) as bad:
        build(table, tmp_path / "datasets", "mmhs", wanted)
    assert told in str(bad.value)
    assert not (tmp_path / "datasets").exists()


def test_an_official_split_of_an_unknown_name_is_named(tmp_path: Path) -> None:
    path = _table(tmp_path / "t.parquet", [{**_row(1), "split": "fold 3"}])
    with pytest.raises(
        BadTable, match=r"'split' holds 'fold 3', which is none of train, validation, test\. Give official="
    ):
        build(path, tmp_path / "datasets", "mmhs", BY_IMAGE)
    _table(path, [{**_row(n), "split": "fold 3"} for n in range(200)])
    assert (
        0
        == build(path, tmp_path / "datasets", "mmhs", Wanted(("image",), official="ignore")).certificate[
            "official_rows"
        ]
    )


def test_no_rows_a_torn_table_and_none_at_all_are_named(tmp_path: Path) -> None:
    path = _table(tmp_path / "t.parquet", [])
    with pytest.raises(BadTable, match=r"has no rows, so there is nothing to split\."):
        build(path, tmp_path / "datasets", "mmhs", BY_IMAGE)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TornFile, match="is not a whole Parquet file"):
        build(path, tmp_path / "datasets", "mmhs", BY_IMAGE)
    path.write_text("image,text\n1.jpg,one\n")
    with pytest.raises(BadTable, match=r"t\.parquet is no Parquet file\. Write it as one"):
        build(path, tmp_path / "datasets", "mmhs", BY_IMAGE)


def test_a_leak_of_our_own_making_leaves_nothing(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.splits import build as module

    monkeypatch.setattr(module, "assign", lambda examples, *_: ["train", "test"] * (len(examples) // 2))
    with pytest.raises(Leaking, match=r"150 of 150 rows of test \(100\.0%\) share image with train"):
        build(table, tmp_path / "datasets", "mmhs", BY_IMAGE)
    assert [] == list((tmp_path / "datasets" / "mmhs").iterdir())


def test_kill_9_leaves_no_version_and_the_next_run_makes_it_whole(table: Path, tmp_path: Path) -> None:
    whole = build(table, tmp_path / "undisturbed", "mmhs", BY_IMAGE)
    datasets = tmp_path / "datasets"
    child = os.fork()
    if child == 0:
        renamed: list[Any] = []
        replace = os.replace

        def die_at_the_last(old: Path, new: Path) -> None:
            renamed.append(new)
            if len(renamed) == 6:  # three splits, card, certificate, and now the folder itself
                os.kill(os.getpid(), signal.SIGKILL)
            replace(old, new)

        os.replace = die_at_the_last  # type: ignore[assignment]
        try:
            build(table, datasets, "mmhs", BY_IMAGE)
        finally:
            os._exit(0)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert [".part"] == [path.suffix for path in (datasets / "mmhs").iterdir()]

    again = build(table, datasets, "mmhs", BY_IMAGE)
    assert whole.certificate == again.certificate == check_version(again.folder)
    assert [again.folder] == list((datasets / "mmhs").iterdir())
