"""A table of memes in, tables and a page out; then changed and broken on purpose."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.chunks.manifest import CountsDiffer
from tasks.cli import main
from tasks.pictures.decode import BadImage, ImageChanged, open_picture
from tasks.storage.errors import ForeignTable, PermanentError
from tasks.storage.root import DataRoot
from tasks.storage.schemas import MEMES_CLASSIFIED, MEMES_UNCLASSIFIED
from tasks.storage.tables import read_table
from tasks.zeroshot.catalog import BadTable, TableChanged, classes_of, images_of, name_of, read_catalog
from tasks.zeroshot.collect import collect
from tasks.zeroshot.plan import VLM, plan
from tasks.zeroshot.report import REJECTIONS, disagreement, read_answers, worst_first, write_report
from tests.memes.drawn import encoded
from tests.zeroshot.shapes import shapes
from tests.zeroshot.walk import LABELS, SAID, Row, folder_of_shapes, planned, table_of_memes, walk


class Fake:
    """Answers by an image's number; keeps count."""

    def __init__(self, sure: float = 0.9) -> None:
        self.seen, self._sure = 0, sure

    def answer(self, rows: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
        return [self._one(row, folder) for row in rows]

    def _one(self, row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        try:
            open_picture((folder / row["path"]).read_bytes())
        except BadImage as error:
            return {**row, "error": error.code, "message": f"Row {row['row']}, {row['path']} {error}"}
        self.seen += 1
        first = self._sure if row["row"] % 3 else 1 - self._sure
        answer = LABELS[first < 0.5]
        said = [first, 1 - first]
        return {
            **row,
            "vlm_answer": answer,
            "vlm_probabilities": said,
            "vlm_valid": 0.5,
            "explanation": f"Потому что {row['row']} <b>",
            "clip_answer": answer,
            "clip_probabilities": said,
            "clip_text_answer": LABELS[first >= 0.5],
            "clip_text_probabilities": said[::-1],
            "words": 3,
            "words_used": 2,
            "seen": [0.0, 0.0, 64.0, 64.0],
            "eigen": [0.0, 1.0, -1.0, 2.0],
            "grad": [0.0] * 4,
            "error": None,
            "message": None,
        }


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot(tmp_path / "data")


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    return folder_of_shapes(tmp_path / "memes")


@pytest.fixture
def folder(tmp_path: Path, rows: list[Row]) -> Path:
    assert rows
    return tmp_path / "memes"


@pytest.fixture
def table(folder: Path, rows: list[Row], root: DataRoot) -> Path:
    return table_of_memes(folder, rows, root)


def _shaped(tables: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return (
        read_table(tables.table, MEMES_CLASSIFIED).to_pylist(),
        read_table(tables.rejected, MEMES_UNCLASSIFIED).to_pylist(),
    )


def test_rows_in_are_rows_classified_and_rows_rejected(table: Path, root: DataRoot) -> None:
    _, tables = walk(table, root, Fake(), Fake())
    rows, rejected = _shaped(tables)
    assert [0, 1, 2, 3, 4, 5] == [row["row"] for row in rows]
    assert ["toxic", "non_toxic", "toxic", "non_toxic", None, "toxic"] == [row["label"] for row in rows]
    assert SAID == [row["text"] for row in rows]
    assert [(6, "cut.png", "toxic", "damaged")] == [(r["row"], r["path"], r["label"], r["error"]) for r in rejected]
    assert rejected[0]["message"].startswith("Row 6, cut.png is cut off or damaged")
    assert (7, 6, 1) == (tables.rows, tables.classified, tables.reasons.total())


def test_second_run_asks_nothing_and_gives_the_same_bytes(table: Path, root: DataRoot) -> None:
    vlm, clip = Fake(), Fake()
    jobs, _ = walk(table, root, vlm, clip)
    before = {path.name: path.read_bytes() for path in root.tables.iterdir()}
    walk(table, root, vlm, clip)
    assert (6, 6) == (vlm.seen, clip.seen)
    jobs[1].path(jobs[1].chunks()[1]).unlink()
    walk(table, root, vlm, clip)
    assert (6, 9) == (vlm.seen, clip.seen)
    assert before == {path.name: path.read_bytes() for path in root.tables.iterdir()}


def test_a_label_that_is_corrected_asks_no_model_again_and_another_text_does(
    folder: Path, rows: list[Row], root: DataRoot
) -> None:
    vlm = Fake()
    walk(table_of_memes(folder, rows, root), root, vlm, Fake())
    rows[0] = rows[0]._replace(label="non_toxic")
    _, tables = walk(table_of_memes(folder, rows, root), root, vlm, Fake())
    assert 6 == vlm.seen
    assert "non_toxic" == _shaped(tables)[0][0]["label"]
    rows[0] = rows[0]._replace(text="другое")
    walk(table_of_memes(folder, rows, root), root, vlm, Fake())
    assert 12 == vlm.seen


def test_images_that_are_not_there_as_they_were_are_rejected_by_name(
    tmp_path: Path, folder: Path, rows: list[Row], root: DataRoot
) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(shapes(1, 9)[0].image))
    table = table_of_memes(folder, [*rows, Row("../secret.png", "toxic", "")], root)
    (folder / rows[0].path).unlink()
    (folder / rows[2].path).write_bytes(encoded(shapes(1, 8)[0].image))
    _, tables = walk(table, root, Fake(), Fake())
    rejected = {row["path"]: row for row in _shaped(tables)[1]}
    expected = {rows[0].path: "missing-image", rows[2].path: "changed-image", "cut.png": "damaged"}
    assert expected | {"../secret.png": "outside"} == {path: row["error"] for path, row in rejected.items()}
    assert (
        f"Row 0, 0 рыба.png cannot be read in {folder}: No such file or directory." == rejected[rows[0].path]["message"]
    )
    assert rejected.keys().isdisjoint(row["path"] for row in _shaped(tables)[0])
    assert set(expected.values()) <= REJECTIONS.keys()


def test_a_table_whose_images_changed_meanwhile_is_not_written(folder: Path, rows: list[Row], root: DataRoot) -> None:
    table = table_of_memes(folder, rows, root)
    jobs, tables = walk(table, root, Fake(), Fake())
    before = tables.table.read_bytes()
    table_of_memes(folder, rows[::-1], root)
    with pytest.raises(TableChanged, match=r"Row 0 was 0 рыба.png when the run began"):
        collect(jobs[0], jobs[1], table, root.tables, "memes-classified")
    assert before == tables.table.read_bytes()


def test_a_table_that_has_more_or_fewer_rows_meanwhile_is_not_written(
    folder: Path, rows: list[Row], root: DataRoot
) -> None:
    jobs, tables = walk(table_of_memes(folder, rows, root), root, Fake(), Fake())
    before = tables.table.read_bytes()
    for rows_now in (2, 6, 8, 10):
        table = table_of_memes(folder, [*rows, *rows][:rows_now], root)
        with pytest.raises(TableChanged, match=r"memes.parquet has more or fewer rows than when the run began"):
            collect(jobs[0], jobs[1], table, root.tables, "memes-classified")
    assert before == tables.table.read_bytes()


def test_a_label_that_is_no_class_by_now_is_not_written(folder: Path, rows: list[Row], root: DataRoot) -> None:
    jobs, tables = walk(table_of_memes(folder, rows, root), root, Fake(), Fake())
    before = tables.table.read_bytes()
    table = table_of_memes(folder, [*rows[:3], rows[3]._replace(label="funny"), *rows[4:]], root)
    with pytest.raises(
        TableChanged, match=r"Row 3, 3 рыба.png, has the label 'funny' now, which is none of the classes"
    ):
        collect(jobs[0], jobs[1], table, root.tables, "memes-classified")
    assert before == tables.table.read_bytes()


def test_a_table_that_changes_while_it_is_planned_makes_no_job(folder: Path, rows: list[Row], root: DataRoot) -> None:
    table = table_of_memes(folder, rows, root)
    catalog = read_catalog(table, folder)
    table_of_memes(folder, [rows[0]._replace(text="другое"), *rows[1:]], root)
    with pytest.raises(TableChanged, match=r"memes.parquet was written anew while it was read. Start the flow again."):
        plan(VLM, catalog, root.jobs, 3, {}, {})
    assert not list(root.jobs.rglob("*.*"))


def test_jobs_whose_chunks_differ_write_nothing(table: Path, root: DataRoot) -> None:
    jobs, tables = walk(table, root, Fake(), Fake())
    before = tables.table.read_bytes()
    first, second = (jobs[1].path(chunk) for chunk in jobs[1].chunks()[:2])
    second.write_bytes(first.read_bytes())
    with pytest.raises(CountsDiffer, match=r"chunk-00001 of classify-vlm-.* hold different images"):
        collect(jobs[0], jobs[1], table, root.tables, "memes-classified")
    assert before == tables.table.read_bytes()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["toxic", "funny"], "row 1: its label 'non_toxic' is none of the classes toxic, funny."),
        (["toxic"], r"The classes are \['toxic'\]; at least two different ones are needed"),
        (["toxic", "toxic"], "at least two different ones"),
        (["toxic", ""], "at least two different ones"),
    ],
)
def test_classes_that_cannot_be_say_why(table: Path, labels: list[str], message: str) -> None:
    with pytest.raises(BadTable, match=message):
        classes_of(table, labels)


def test_answers_never_take_the_place_of_the_table_that_they_are_about(table: Path, root: DataRoot) -> None:
    assert ["memes-classified", "other"] == [name_of(table, root.tables, name) for name in ("", "other")]
    assert "memes" == name_of(table, root.tables / "elsewhere", "memes")
    with pytest.raises(BadTable, match=r"`name` is 'memes', so the answers would take the place of .*memes.parquet"):
        name_of(table, root.tables, "memes")


def test_without_classes_the_table_s_labels_are_taken(table: Path) -> None:
    assert ("non_toxic", "toxic") == classes_of(table, None)


def test_a_table_that_is_another_or_whose_images_are_nowhere_says_what_to_do(table: Path, root: DataRoot) -> None:
    jobs = planned(table, root)
    with pytest.raises(ForeignTable, match="classify-memes takes the table of read-memes: run that first"):
        classes_of(jobs[0].rows_path, LABELS)
    with pytest.raises(BadTable, match="The folder of the images, /nowhere, is not there"):
        images_of(table, Path("/nowhere"))
    (root.tables / "memes.provenance.json").unlink()
    with pytest.raises(BadTable, match=r"does not say where the images of memes.parquet are"):
        images_of(table, None)


def test_no_image_at_all_makes_no_job(table: Path, root: DataRoot, folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(BadTable, match=r"None of the 7 images of memes.parquet can be used. The first one: Row 0"):
        planned(table, root)
    assert not root.jobs.exists()


def test_a_chunk_size_that_is_none_makes_no_job(table: Path, root: DataRoot) -> None:
    with pytest.raises(PermanentError, match="`chunk_size` is 0"):
        planned(table, root, 0)
    assert not root.jobs.exists()


def test_worst_disagreements_come_first() -> None:
    first = {"vlm": [1, 1, 0, 0.5], "clip": [1, 0, 0, 0.5], "clip_text": [1, 0, 0, 0.5]}
    said = {f"{name}_probabilities": pa.array([[p, 1 - p] for p in some]) for name, some in first.items()}
    rows = pa.RecordBatch.from_pydict({"label": pa.array(["toxic", "toxic", "toxic", None]), **said})
    found = disagreement(rows, LABELS)
    assert [0, 4 / 6, 3 / 6, 0] == found.tolist()
    assert [1, 2, 0, 3] == worst_first(pa.table({"disagreement": found}))


def test_the_page_shows_the_worst_memes_and_says_how_many_it_leaves_out(table: Path, root: DataRoot) -> None:
    _, tables = walk(table, root, Fake(), Fake())
    report = write_report(root.reports / "classify-memes", tables, 2)
    page = report.html.read_text("utf-8")
    assert "2 of 6 images, the worst disagreements between methods and gold label first. The others are in" in page
    assert 6 == page.count('src="data:image/jpeg;base64,')
    assert "&lt;b&gt;" in page
    figures = json.loads(report.json.read_bytes())
    rows, _ = _shaped(tables)
    order = worst_first(read_answers(tables.table, LABELS))
    assert [rows[at]["path"] for at in order[:2]] == figures["shown"]
    everything = write_report(root.reports / "all", tables, 100).html.read_text("utf-8")
    assert "<script>" not in everything
    assert "&lt;script&gt;" in everything
    assert "The others" not in everything
    assert "GradCAM, weak evidence: nothing speaks for the class" in everything
    assert "http" not in everything.replace("http://x", "").replace("http://www.w3.org", "")


def test_an_image_that_is_gone_by_the_report_costs_its_pictures_alone(
    table: Path, root: DataRoot, folder: Path
) -> None:
    _, tables = walk(table, root, Fake(), Fake())
    (folder / "1 рыба.png").unlink()
    page = write_report(root.reports / "classify-memes", tables, 100).html.read_text("utf-8")
    assert 15 == page.count('src="data:image/jpeg;base64,')
    assert "1 · 1 рыба.png" in page


def test_nothing_labelled_gives_a_page_without_figures(folder: Path, rows: list[Row], root: DataRoot) -> None:
    unlabelled = [row._replace(label=None) for row in rows]
    _, tables = walk(table_of_memes(folder, unlabelled, root), root, Fake(), Fake())
    report = write_report(root.reports / "classify-memes", tables, 100)
    assert json.loads(report.json.read_bytes())["comparison"] is None
    assert "Which is right how often" not in report.html.read_text("utf-8")


def test_nothing_classified_gives_a_page_without_memes(table: Path, root: DataRoot, folder: Path) -> None:
    class Refusing(Fake):
        def _one(self, row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
            return {**row, "error": "too-long", "message": f"Row {row['row']} is too long."}

    _, tables = walk(table, root, Refusing(), Fake())
    assert (0, 7) == (tables.classified, tables.reasons.total())
    report = write_report(root.reports / "classify-memes", tables, 100)
    assert "0 of 0 images, the worst disagreements" in report.html.read_text("utf-8")
    figures = json.loads(report.json.read_bytes())
    assert (None, 0, [], 7) == tuple(figures[name] for name in ("vlm_valid", "with_text", "shown", "rejected"))


def test_verify_and_status_know_these_jobs_and_tables(
    table: Path, root: DataRoot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs, tables = walk(table, root, Fake(), Fake())
    for name in ("memes.parquet", "memes.provenance.json"):
        (root.tables / name).unlink()  # ours are no tables of a real run
    monkeypatch.setenv("TRASVASE_DATA", str(root.path))
    assert 0 == main(["verify", str(root.path)])
    assert "answers fit one another; what is refused has a reason (n = 6)" in capsys.readouterr().out
    for job in jobs:
        assert 0 == main(["status", job.job])
        assert "7, 1 of them rejected so far" in capsys.readouterr().out
    content = bytearray(tables.table.read_bytes())
    content[len(content) // 2] ^= 1
    tables.table.write_bytes(content)
    assert 1 == main(["verify", str(root.tables)])
    assert "has another SHA-256" in capsys.readouterr().out


def test_equal_tables_give_an_equal_page(table: Path, root: DataRoot) -> None:
    _, tables = walk(table, root, Fake(), Fake())
    made = [write_report(root.reports / name, tables, 100).html.read_bytes() for name in "ab"]
    assert hashlib.sha256(made[0]).digest() == hashlib.sha256(made[1]).digest()


def test_an_image_that_changes_after_the_plan_stops_the_chunk(trained_clip: Path, folder: Path) -> None:
    from tasks.zeroshot.clip import open_clip

    asked = {"model": str(trained_clip), "device": "cpu", "labels": LABELS, "prompts": None}
    clip = open_clip({**asked, "with_text": "{prompt} {text}"})
    row = {"row": 3, "path": "1 рыба.png", "sha256": "0" * 64, "text": ""}
    with pytest.raises(ImageChanged, match=r"Row 3: .*1 рыба.png is not the image that it was"):
        clip.answer([row], folder)
