"""Three layouts into one table; every row that is refused has its name and reason."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tasks.mmhs.archive import BadArchive
from tasks.mmhs.prepare import Prepared, prepare
from tasks.mmhs.source import REASONS, BadSource, decide
from tasks.splits.assign import OfficialLeak
from tasks.splits.build import Wanted, build
from tasks.splits.card import equal_bytes
from tasks.storage.schemas import MMHS, MMHS_REJECTED
from tasks.storage.tables import read_table
from tests.mmhs.sample import ENTRIES, as_folder, as_zip, files


def _rows(prepared: Prepared) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(prepared.table, MMHS).to_pylist()
    return rows


def _refused(prepared: Prepared) -> list[tuple[str, str]]:
    return [(row["error"], row["message"]) for row in read_table(prepared.rejected, MMHS_REJECTED).to_pylist()]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    return tmp_path / "tables"


def test_a_zip_and_a_folder_give_the_same_table(tmp_path: Path, tables: Path) -> None:
    zipped = prepare(as_zip(tmp_path / "MMHS150K.zip", files(), "MMHS150K/"), tables, "a")
    folder = prepare(as_folder(tmp_path / "MMHS150K", files()), tables, "b")
    alone = prepare(tmp_path / "MMHS150K" / "MMHS150K_GT.json", tables, "c")

    assert zipped.table.read_bytes() == folder.table.read_bytes() == alone.table.read_bytes()
    rows = _rows(zipped)
    assert {
        "row": 1,
        "id": "102",
        "image": "img_resized/102.jpg",
        "sha256": hashlib.sha256(b"\xff\xd8 a picture").hexdigest(),
        "text": "@nobody robots are all alike",
        "ocr": "WHEN YOU ARE A ROBOT",
        "votes": ["religion", "racist", "not_hate"],
        "labels": ["racist", "religion"],
        "split": "train",
        "extra": '{"labels_str": ["Religion", "Racist", "NotHate"]}',
    } == rows[1]
    assert [("101", []), ("103", ["sexist"]), ("104", ["racist", "sexist", "homophobe"])] == [
        (row["id"], row["labels"]) for row in (rows[0], rows[2], rows[3])
    ]
    assert ["train", "train", "validation", "test", None] == [row["split"] for row in rows]
    provenance = json.loads(zipped.provenance.read_bytes())
    assert {"rows": 5, "delivered": 5, "rejected": {}, "with_ocr": 1} == {
        key: provenance["counts"][key] for key in ("rows", "delivered", "rejected", "with_ocr")
    }


def test_the_provenance_says_where_the_paths_of_images_begin(tmp_path: Path, tables: Path) -> None:
    def place(source: Path) -> str:
        return str(json.loads(prepare(source, tables).provenance.read_bytes())["source"]["path"])

    zipped = as_zip(tmp_path / "MMHS150K.zip", files(), "MMHS150K/")
    folder = as_folder(tmp_path / "raw" / "MMHS150K", files())
    assert str(zipped) == place(zipped)
    assert [str(folder)] * 3 == [place(source) for source in (folder, folder.parent, folder / "MMHS150K_GT.json")]
    table = as_folder(tmp_path / "csv", {"val.csv": CSV.encode()})
    assert str(table) == place(table / "val.csv")


def test_majority_needs_two_of_three(tmp_path: Path, tables: Path) -> None:
    prepared = prepare(as_folder(tmp_path / "in", files()), tables, votes="majority")
    assert {"101": [], "103": ["sexist"], "105": ["otherhate"]} == {row["id"]: row["labels"] for row in _rows(prepared)}
    assert [
        ("no-majority", "Row 1 (102) has the votes religion, racist, not_hate: no two agree."),
        ("no-majority", "Row 3 (104) has the votes racist, sexist, homophobe: no two agree."),
    ] == _refused(prepared)


def test_union_and_majority_by_hand() -> None:
    votes = ["otherhate", "racist", "racist"]
    assert ["racist", "otherhate"] == decide(votes, "union")
    assert ["racist"] == decide(votes, "majority")
    assert [] == decide(["not_hate", "racist", "not_hate"], "majority")
    assert None is decide(["not_hate", "racist", "sexist"], "majority")


@pytest.mark.parametrize(
    ("entry", "code", "message"),
    [
        (["no", "object"], "bad-row", "Row 5 (9) is list, not an object."),
        (
            {"tweet_text": "a", "labels": [0, 6, 0]},
            "unknown-label",
            "Row 5 (9) has the vote 6, which is none of 0 to 5.",
        ),
        (
            {"tweet_text": "a", "labels": [0, True, 0]},
            "unknown-label",
            "Row 5 (9) has the vote True, which is none of 0 to 5.",
        ),
        ({"tweet_text": "a", "labels": [0, 1]}, "bad-votes", "Row 5 (9) has 2 votes, not 3."),
        ({"tweet_text": "a"}, "bad-votes", "Row 5 (9) has nothing for votes, not 3."),
        (
            {"tweet_text": float("nan"), "labels": [0, 0, 0]},
            "nan-text",
            "Row 5 (9) has NaN for a text, which JSON does not have.",
        ),
        ({"labels": [0, 0, 0]}, "text-not-text", "Row 5 (9) has nothing for a text."),
        ({"tweet_text": "\ud83d", "labels": [0, 0, 0]}, "not-unicode", "Row 5 (9) has half a surrogate pair."),
        (
            {"tweet_text": "a" * 100_001, "labels": [0] * 3},
            "text-too-long",
            "Row 5 (9) has 100,001 characters; at most 100,000 are taken.",
        ),
        (
            {"tweet_text": "a", "labels": [0] * 3, "n": float("nan")},
            "bad-row",
            "Row 5 (9) has NaN in a field, which JSON does not have.",
        ),
    ],
)
def test_a_bad_entry_is_refused_by_name(tmp_path: Path, tables: Path, entry: Any, code: str, message: str) -> None:
    prepared = prepare(as_folder(tmp_path / "in", files({**ENTRIES, "9": entry})), tables)
    assert [(code, message)] == _refused(prepared)
    assert 5 == len(_rows(prepared))
    assert code in REASONS


def test_a_missing_image_a_broken_ocr_file_and_bad_splits_are_refused_by_name(tmp_path: Path, tables: Path) -> None:
    content = files()
    del content["img_resized/101.jpg"]
    content["img_txt/103.json"] = b'{"img_text": '
    content["splits/test_ids.txt"] += b"102\n999\n"
    prepared = prepare(as_folder(tmp_path / "in", content), tables)
    assert [
        ("missing-image", "Row 0 (101) has the image img_resized/101.jpg, which is not there."),
        ("two-splits", "Row 1 (102) is named by two official splits."),
        ("not-json", "Row 2 (103) has a damaged img_txt/103.json (Expecting value: line 1 column 14 (char 13))."),
        ("no-entry", "Row 5 (999) stands in the official test split, but not in MMHS150K_GT.json."),
    ] == sorted(_refused(prepared), key=lambda each: each[1])
    assert (6, 2) == (prepared.rows, prepared.delivered)


def test_without_any_image_rows_are_text_only(tmp_path: Path, tables: Path) -> None:
    prepared = prepare(as_folder(tmp_path / "in", files(images=False)), tables)
    assert (5, []) == (len(_rows(prepared)), _refused(prepared))
    assert [None] * 5 == [row["sha256"] for row in _rows(prepared)]


def test_an_image_that_is_damaged_in_the_zip_costs_its_own_row(tmp_path: Path, tables: Path) -> None:
    path = as_zip(tmp_path / "MMHS150K.zip", files() | {"img_resized/103.jpg": b"\xff\xd8 another picture"})
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("img_resized/103.jpg").header_offset + 30 + len("img_resized/103.jpg") + 3
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    prepared = prepare(path, tables)
    ((code, message),) = _refused(prepared)
    assert ("damaged-image", True) == (
        code,
        message.startswith("Row 2 (103) has the image img_resized/103.jpg, which is"),
    )
    assert 4 == prepared.delivered


def test_the_same_picture_under_two_ids_can_be_kept_in_one_split(tmp_path: Path, tables: Path) -> None:
    entries = {str(n): {"tweet_text": f"t{n}", "labels": [0, 0, n % 2]} for n in range(1000, 1100)}
    pictures = {f"img_resized/{id_}.jpg": f"picture {int(id_) // 2}".encode() for id_ in entries}
    parts = {
        f"splits/{split}_ids.txt": "\n".join(list(entries)[at::2]).encode()
        for at, split in enumerate(("train", "test"))
    }
    prepared = prepare(as_zip(tmp_path / "MMHS150K.zip", files(entries) | pictures | parts), tables)
    with pytest.raises(OfficialLeak, match="The official splits share 50 groups"):
        build(prepared.table, tmp_path / "datasets", "mmhs", Wanted(("sha256",)))
    cleaned = build(prepared.table, tmp_path / "datasets", "mmhs", Wanted(("sha256",), official="ignore")).certificate
    assert (50, 0) == (sum(split["groups"] for split in cleaned["splits"].values()), cleaned["leaks"]["found"])
    assert [] == cleaned["equal_bytes"]

    named = build(prepared.table, tmp_path / "datasets", "mmhs", Wanted(("image",)))
    assert 0 == named.certificate["leaks"]["found"]
    assert [{"split": "test", "other": "train", "rows": 50, "of": 50}] == named.certificate["equal_bytes"]
    card = (named.folder / "README.md").read_text("utf-8")
    told = "50 of 50 rows of test have an image whose very bytes stand in train under another name."
    assert [told] == equal_bytes(named.certificate)
    assert f"{told} It was not looked for when the splits were made; group_by=sha256" in card


def test_a_mac_s_resource_forks_are_no_splits_and_no_images(tmp_path: Path, tables: Path) -> None:
    forks = {"splits/._train_ids.txt": b"\0", "__MACOSX/img_resized/._101.jpg": b"\0", "._MMHS150K_GT.json": b"\0"}
    prepared = prepare(as_zip(tmp_path / "MMHS150K.zip", {**files(images=False), **forks}), tables)
    assert (5, 0) == (prepared.delivered, prepared.errors.total())


def test_an_id_that_stands_there_twice_or_is_a_path_is_refused(tmp_path: Path, tables: Path) -> None:
    content = files(images=False)
    text = content["MMHS150K_GT.json"].decode()
    entry = json.dumps({"tweet_text": "a", "labels": [0, 0, 0]})
    content["MMHS150K_GT.json"] = f'{text[:-1]}, "101": {entry}, "../x": {entry}}}'.encode()
    prepared = prepare(as_folder(tmp_path / "in", content), tables)
    assert [
        ("duplicate-row", "Row 5 (101) has the id 101 of an earlier row."),
        ("bad-id", "Row 6 (../x) has the id '../x'."),
    ] == _refused(prepared)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text[:-60], "is broken JSON after '104', some "),
        (lambda text: text.replace('"103":', '"103"'), ": ':' is missing before '{'. Download it again."),
        (lambda text: text.replace('"104"', "104"), "is broken JSON after '103', some "),
        (lambda text: "[" + text[1:], "after the beginning, some 0 characters in: '{' is missing before '['"),
        (lambda text: "", "is broken JSON after the beginning, some 0 characters in: it ends there."),
        (lambda text: "{}", "MMHS150K_GT.json has no entries. Download it again."),
    ],
)
def test_broken_json_is_named_with_its_place_and_leaves_no_table(
    tmp_path: Path, tables: Path, change: Any, told: str
) -> None:
    content = files()
    content["MMHS150K_GT.json"] = change(content["MMHS150K_GT.json"].decode()).encode()
    with pytest.raises(BadSource) as broken:
        prepare(as_folder(tmp_path / "in", content), tables)
    assert told in str(broken.value)
    assert [] == list(tables.iterdir())


def test_entries_that_are_cut_by_a_block_s_end_are_read_whole(
    tmp_path: Path, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.mmhs import source

    source_folder = as_folder(tmp_path / "in", files())
    whole = prepare(source_folder, tables, "whole").table.read_bytes()
    for size in (1, 2, 3, 7, 50):
        monkeypatch.setattr(source._Object, "_BLOCK", size)
        assert whole == prepare(source_folder, tables, "blocks").table.read_bytes(), f"blocks of {size}"


CSV = """text,image_path,labels
"Good, day",images/1.jpg,
Robots,images/2.jpg,"otherhate,racist"
Toasters,images/3.png,"['sexist']"
nan,images/4.jpg,racist
Cars,images/5.jpg,motorist
Cars,../../6.jpg,racist
Cars,images/1.jpg,racist
Short,images/8.jpg
"""


def test_a_path_that_windows_wrote_names_the_same_image(tmp_path: Path, tables: Path) -> None:
    content = {"val.csv": b"text,image_path,labels\na,images\\1.jpg,racist\n", "images/1.jpg": b"x"}
    row = read_table(prepare(as_folder(tmp_path / "in", content), tables).table, MMHS).to_pylist()[0]
    assert ("1", "images/1.jpg") == (row["id"], row["image"])


def test_the_predecessor_s_csv_files(tmp_path: Path, tables: Path) -> None:
    folder = as_folder(tmp_path / "in", {"val.csv": CSV.encode(), "class_names.txt": b"racist\n"})
    prepared = prepare(folder, tables)
    assert [
        ("1", "Good, day", [], None, "validation"),
        ("2", "Robots", ["racist", "otherhate"], None, "validation"),
        ("3", "Toasters", ["sexist"], None, "validation"),
    ] == [(row["id"], row["text"], row["labels"], row["votes"], row["split"]) for row in _rows(prepared)]
    assert [
        ("nan-text", "Row 3 (4) has the text 'nan', which is what an empty cell becomes by mistake."),
        (
            "unknown-label",
            "Row 4 (5) has the label 'motorist', which is none of racist, sexist, homophobe, religion, otherhate.",
        ),
        ("bad-image-path", "Row 5 (6) has the image '../../6.jpg', which leads out of the data set."),
        ("duplicate-row", "Row 6 (1) has the id 1 of an earlier row."),
        ("bad-row", "Row 7 has more or fewer cells than its file has columns."),
    ] == _refused(prepared)
    assert _rows(prepared) == _rows(prepare(folder / "val.csv", tables, "one-file"))


def test_a_csv_file_without_its_columns_or_with_a_broken_quote_is_named(tmp_path: Path, tables: Path) -> None:
    path = as_folder(tmp_path, {"train.csv": b"text,label_names\na,b\n"}) / "train.csv"
    with pytest.raises(BadSource, match=r"has the columns label_names, text; text, image_path and labels"):
        prepare(path, tables)
    path.write_text('text,image_path,labels\n"a"b,1.jpg,racist\n')
    with pytest.raises(BadSource, match=r"train\.csv cannot be read on after line 1 .*Mend the file\."):
        prepare(path, tables)


def test_hateful_memes(tmp_path: Path, tables: Path) -> None:
    lines = [
        '{"id": 42953, "img": "img/42953.png", "label": 0, "text": "it is a toaster"}',
        '{"id": 23058, "img": "img/23058.png", "label": 1, "text": "robots", "more": [1]}',
        '{"id": 1, "img": "img/1.png", "label": 2, "text": "a"}',
        '{"id": 2, "img": "img/2.png", "label": 1',
        "[3]",
        '{"id": 4, "img": "img/4.png", "text": "a"}',
        '{"img": "img/5.png", "label": 1, "text": "a"}',
    ]
    images = {f"img/{id_}.png": b"PNG" for id_ in (42953, 23058, 1, 2, 4)}
    folder = as_folder(tmp_path / "in", {"dev.jsonl": "\n".join(lines).encode(), **images})
    prepared = prepare(folder, tables)
    assert [("42953", [], None), ("23058", ["harmful"], '{"more": [1]}')] == [
        (row["id"], row["labels"], row["extra"]) for row in _rows(prepared)
    ]
    assert ["unknown-label", "not-json", "bad-row", "no-label", "bad-row"] == [code for code, _ in _refused(prepared)]


def test_majority_of_labels_without_votes_is_not_possible(tmp_path: Path, tables: Path) -> None:
    path = as_folder(tmp_path, {"val.csv": CSV.encode()}) / "val.csv"
    with pytest.raises(BadSource, match=r"does not say what each annotator voted, so votes='majority' is not possible"):
        prepare(path, tables, votes="majority")


def test_a_data_set_without_a_row_that_can_be_used_is_named_and_leaves_the_old_tables(
    tmp_path: Path, tables: Path
) -> None:
    before = prepare(as_folder(tmp_path / "in", files()), tables)
    old = [path.read_bytes() for path in (before.table, before.rejected, before.provenance)]
    absolute = {"val.csv": b"text,image_path,labels\na,/data/1.jpg,racist\nb,/data/2.jpg,\n"}
    with pytest.raises(BadSource) as caught:
        prepare(as_folder(tmp_path / "csv", absolute), tables)
    assert (
        f"{tmp_path / 'csv'}: none of the 2 rows can be used (bad-image-path 2). The first one: Row 0 (1) has the image "
        "'/data/1.jpg', which leads out of the data set."
    ) == str(caught.value)
    assert old == [path.read_bytes() for path in (before.table, before.rejected, before.provenance)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"train/train.csv": b"", "val/val.csv": b""}, "holds train.csv and its like in several folders: train, val."),
        ({"dev.jsonl": b"", "old/dev.jsonl": b""}, "holds dev.jsonl and its like in several folders: the top, old."),
        (
            {"MMHS150K_GT.json": b"", "x/MMHS150K_GT.json": b""},
            "holds MMHS150K_GT.json and its like in several folders",
        ),
    ],
)
def test_files_in_several_folders_are_not_left_out_in_silence(
    tmp_path: Path, tables: Path, content: dict[str, bytes], told: str
) -> None:
    with pytest.raises(BadSource, match=re.escape(told)):
        prepare(as_folder(tmp_path / "in", content), tables)


def test_a_folder_that_holds_none_of_the_three_is_named(tmp_path: Path, tables: Path) -> None:
    with pytest.raises(BadSource, match=r"holds no MMHS150K_GT\.json, no train, val or test \.csv"):
        prepare(as_folder(tmp_path / "in", {"notes.txt": b"x"}), tables)
    with pytest.raises(
        BadSource, match=r"or the folder of the CSV files\. It holds MMHS150K\.zip: perhaps that is it\."
    ):
        prepare(as_folder(tmp_path / "packed", {"MMHS150K.zip": b"PK"}), tables)
    other = as_folder(tmp_path / "in", {"MMHS150K.tar.gz": b"x"}) / "MMHS150K.tar.gz"
    with pytest.raises(BadSource, match=re.escape(f"{other} holds no")):
        prepare(other, tables)
    with pytest.raises(BadArchive, match="leads out of the archive"):
        prepare(as_zip(tmp_path / "x.zip", {**files(), "../x": b"x"}), tables)


def test_kill_9_leaves_the_old_tables_and_the_next_run_is_whole(tmp_path: Path, tables: Path) -> None:
    source = as_folder(tmp_path / "in", files())
    old = prepare(source, tables).table.read_bytes()
    child = os.fork()
    if child == 0:
        flushed: list[int] = []

        def die_at_the_second(descriptor: int) -> None:
            if flushed:
                os.kill(os.getpid(), signal.SIGKILL)
            flushed.append(descriptor)

        os.fsync = die_at_the_second  # type: ignore[assignment]
        try:
            prepare(source, tables, votes="majority")
        finally:
            os._exit(0)
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert old == (tables / "mmhs.parquet").read_bytes()
    assert old == prepare(source, tables).table.read_bytes()
    assert [] == list(tables.glob(".*.part"))
