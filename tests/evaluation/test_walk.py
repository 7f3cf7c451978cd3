"""A toy adapter from its jobs to its report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.samples import toy_models
from tasks.cli import main
from tasks.evaluation.chunk import open_model
from tasks.evaluation.plan import BadEvaluation, data_of, subjects_of, trained_elsewhere
from tasks.models.adapter import read_adapter
from tasks.models.load import BadModel
from tasks.scoring.thresholds import OtherModel, read_thresholds
from tasks.splits.build import VersionChanged, Wanted, build, check_version
from tasks.storage.errors import PermanentError
from tests.evaluation.made import SETS, Made
from tests.evaluation.walk import walk


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    return found


def test_an_adapter_is_measured_beside_baselines_ablations_its_base_and_what_it_writes(toy: Made) -> None:
    walked = walk(toy.data, toy.better, toy.dataset, previous=toy.worse, mode="generate")
    found = figures(walked.report.folder)
    kinds = [model["kind"] for model in found["models"].values()]
    assert ["adapter", "ablation", "ablation", "written", "base", "previous", "baseline", *["constant"] * 4] == kinds
    mine = found["models"][toy.better.name]
    assert mine["metrics"]["f1_macro"]["value"] > 0.85  # the labels are its own
    assert mine["metrics"]["auroc"]["value"] > 0.99
    assert found["models"]["TF-IDF + logistic regression, text only"]["n"] == found["scored"] == found["rows"] == 60
    assert 1.0 == found["models"][f"{toy.better.name}, as it writes"]["unread"]["share"]
    assert found["toy"]
    assert "Toy model" in walked.report.html.read_text("utf-8")
    assert "data:image/jpeg" in walked.report.html.read_text("utf-8")
    assert version("transformers") == found["versions"]["transformers"]
    assert (
        check_version(toy.dataset)["files"]["data/test-00000-of-00001.parquet"]["sha256"] in found["versions"]["split"]
    )


def test_the_better_adapter_passes_and_the_worse_one_fails(toy: Made) -> None:
    better = walk(toy.data, toy.better, toy.dataset, previous=toy.worse, ablations=False)
    worse = walk(toy.data, toy.worse, toy.dataset, previous=toy.better, ablations=False)
    assert better.evaluation.verdict is not None
    assert worse.evaluation.verdict is not None
    assert "pass" == better.evaluation.verdict.outcome
    assert "fail" == worse.evaluation.verdict.outcome


def test_a_base_that_is_another_by_now_does_not_answer_for_the_one_that_was_trained_on(
    toy: Made, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    subjects = walk(root, toy.better, toy.dataset, ablations=False).subjects
    base = next(subject for subject in subjects if subject.role == "base")
    other = toy_models.mistral(tmp_path / "other", seed=1)
    with pytest.raises(BadModel, match=r"has other weights .* train anew"):
        open_model(base.model._replace(base_model=str(other)))


def test_what_was_predicted_is_not_predicted_again_and_the_base_is_shared(toy: Made, tmp_path: Path) -> None:
    done: list[tuple[str, str]] = []
    root = tmp_path / "data"
    first = walk(root, toy.better, toy.dataset, ablations=False, told=lambda who, chunk: done.append((who.role, chunk)))
    assert {"adapter", "base", "text"} == {role for role, _ in done}
    before = len(done)
    walk(root, toy.better, toy.dataset, ablations=False, told=lambda who, chunk: done.append((who.role, chunk)))
    assert before == len(done)
    job = first.subjects[0].jobs["test"]
    job.path(job.chunks()[1]).unlink()
    again = walk(root, toy.better, toy.dataset, ablations=False, told=lambda who, chunk: done.append((who.role, chunk)))
    assert [("adapter", "chunk-00001")] == done[before:]
    assert first.report.html.read_bytes() == again.report.html.read_bytes()
    walk(root, toy.worse, toy.dataset, ablations=False, told=lambda who, chunk: done.append((who.role, chunk)))
    assert {"adapter"} == {role for role, _ in done[before + 1 :]}  # the base model's and the texts' answers are there


def test_thresholds_hold_for_this_adapter_alone(toy: Made) -> None:
    from tasks.evaluation.gather import valid_for

    walked = walk(toy.data, toy.better, toy.dataset, ablations=False)
    path = walked.report.folder / "thresholds.json"
    held = valid_for(walked.subjects[0], walked.data)
    assert 30 == read_thresholds(path, held).rows
    with pytest.raises(OtherModel, match="adapter"):
        read_thresholds(path, held | {"adapter": read_adapter(toy.worse).digest})
    with pytest.raises(OtherModel, match="transformers"):
        read_thresholds(path, held | {"transformers": "5.17.0"})


def test_images_that_are_missing_are_rejected_rows_and_another_job(toy: Made, tmp_path: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(toy.images, images)
    test = pq.read_table(toy.dataset / "data" / "test-00000-of-00001.parquet").to_pylist()
    gone = test[4]["image"]
    (images / gone).unlink()
    walked = walk(tmp_path / "data", toy.better, toy.dataset, ablations=False, images=images)
    lost = sum(row["image"] == gone for row in test)
    found = figures(walked.report.folder)
    assert {"missing": {"rows": lost, "reason": "the image is not there"}} == found["rejected"]
    assert len(test) == found["scored"] + lost
    whole = walk(tmp_path / "data", toy.better, toy.dataset, ablations=False)
    assert whole.subjects[0].jobs["test"].job != walked.subjects[0].jobs["test"].job
    assert whole.subjects[0].jobs["validation"].job == walked.subjects[0].jobs["validation"].job
    shutil.rmtree(images)
    images.mkdir()
    with pytest.raises(BadEvaluation, match=r"None of the 30 images is there.*images="):
        walk(tmp_path / "data", toy.better, toy.dataset, images=images)


def test_a_dataset_that_was_changed_is_not_reported_on(toy: Made, tmp_path: Path) -> None:
    changed = tmp_path / "shapes" / toy.dataset.name
    shutil.copytree(toy.dataset, changed)
    path = changed / "data" / "test-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(VersionChanged, match=r"data/test-00000-of-00001\.parquet has another SHA-256"):
        walk(tmp_path / "data", toy.better, changed)


def test_validation_is_for_thresholds_and_a_split_must_be_there(toy: Made) -> None:
    certificate = check_version(toy.dataset)
    with pytest.raises(BadEvaluation, match="nothing can be reported on it"):
        data_of(toy.dataset, certificate, "validation", None)
    with pytest.raises(BadEvaluation, match=r"no rows in 'dev'\. It has: train, validation, test"):
        data_of(toy.dataset, certificate, "dev", None)
    with pytest.raises(BadEvaluation, match="is no folder"):
        data_of(toy.dataset, certificate, "test", Path("/nowhere"))


def test_images_of_a_data_set_that_was_a_zip_are_where_the_adapter_was_trained_with_them(toy: Made) -> None:
    certificate = check_version(toy.dataset) | {"source": {"path": str(toy.data / "memes.zip")}}
    record = replace(read_adapter(toy.better), images=str(toy.images))
    assert toy.images == data_of(toy.dataset, certificate, "test", None, record).images
    assert toy.data == data_of(toy.dataset, certificate, "test", toy.data, record).images
    of_other_rows = replace(record, dataset={"name": "others", "version": "1"})
    assert data_of(toy.dataset, certificate, "test", None, of_other_rows).images is None


def test_adapters_of_other_labels_are_not_compared(toy: Made, tmp_path: Path) -> None:
    from tests.models import made

    base = Path(read_adapter(toy.better).base_model)
    other = made.adapter(tmp_path / "other", base, made.MANY)
    with pytest.raises(BadEvaluation, match="they cannot be compared"):
        walk(tmp_path / "data", toy.better, toy.dataset, previous=other)
    with pytest.raises(BadEvaluation, match=r"Unknown label.*trained with other answers"):
        walk(tmp_path / "data", other, toy.dataset)
    assert SETS.labels != made.MANY.labels


def test_verify_and_status_know_these_jobs(
    toy: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    walked = walk(root, toy.better, toy.dataset, mode="generate", ablations=False)
    monkeypatch.setenv("TRASVASE_DATA", str(root))
    for subject in walked.subjects:
        for job in subject.jobs.values():
            assert 0 == main(["verify", str(job.folder)])
            assert 0 == main(["verify", str(job.path(job.chunks()[0]))])
            assert 0 == main(["status", job.job])
    assert "each row has a reason, or an answer that fits its probabilities (n = 60)" in capsys.readouterr().out
    job = walked.subjects[0].jobs["test"]
    path = job.path(job.chunks()[0])
    table = pq.read_table(path)
    worse = table.set_column(table.schema.get_field_index("valid"), "valid", pa.array([0.5] * len(table)))
    pq.write_table(worse, path)
    assert 1 == main(["verify", str(job.folder)])
    assert "its probabilities sum to" in capsys.readouterr().out


def foreign(toy: Made, folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Path:
    """The dataset again, under another name and with every row changed."""
    rows = pq.read_table(toy.data / "tables" / "shapes.parquet").to_pylist()
    table = folder / "foreign.parquet"
    pq.write_table(pa.Table.from_pylist([change(row) for row in rows]), table)
    provenance = {"source": {"path": str(toy.images)}, "licence": "cc0-1.0"}
    (folder / "foreign.provenance.json").write_text(json.dumps(provenance))
    return build(table, folder / "datasets", "foreign", Wanted(("image",))).folder


def test_two_adapters_in_folders_of_one_name_stay_two(toy: Made, tmp_path: Path) -> None:
    new, old = tmp_path / "new" / "mine", tmp_path / "old" / "mine"
    shutil.copytree(toy.better, new)
    shutil.copytree(toy.worse, old)
    walked = walk(tmp_path / "data", new, toy.dataset, previous=old, ablations=False)
    assert walked.evaluation.verdict is not None
    assert "pass" == walked.evaluation.verdict.outcome
    assert {"mine", str(old)} <= figures(walked.report.folder)["models"].keys()


def test_nothing_is_reported_on_what_a_model_was_trained_on(toy: Made, tmp_path: Path) -> None:
    record, worse = read_adapter(toy.better), (toy.worse, read_adapter(toy.worse))
    own = data_of(toy.dataset, check_version(toy.dataset), "train", None)
    with pytest.raises(BadEvaluation, match=r"was trained on train of shapes/\w+, so nothing can be .* split=test"):
        subjects_of(toy.better, record, None, own, "score", False, "cpu")
    elsewhere = replace(record, dataset={"name": "other", "version": "01"})
    with pytest.raises(BadEvaluation, match="worse-4567 was trained on train"):
        subjects_of(toy.better, elsewhere, worse, own, "score", False, "cpu")
    alone = subjects_of(toy.better, elsewhere, None, own, "score", False, "cpu")
    assert ["adapter", "base"] == [subject.role for subject in alone]  # the classifier of texts has seen these rows
    assert ["worse-4567 was trained on shapes"] == [
        note.partition("/")[0]
        for note in trained_elsewhere([worse], own._replace(certificate={"dataset": "a", "version": "b"}))
    ]
    assert [] == trained_elsewhere([worse], own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda row: {"caption" if name == "text" else name: each for name, each in row.items()},
            r"\.parquet has no column 'text', which the adapter was trained with\. It has: id, caption",
        ),
        (
            lambda row: {**row, "labels": ["odd"] if row["id"] == "row-0" else row["labels"]},
            r"train-00000-of-00001\.parquet, row 0: Unknown label 'odd'\.",
        ),
        (
            lambda row: {**row, "labels": None if row["split"] == "val" else row["labels"]},
            r"validation-00000-of-00001\.parquet: no row of validation has anything in 'labels'.*or leave validation out",
        ),
        (
            lambda row: {**row, "labels": None if row["split"] == "test" else row["labels"]},
            r"test-00000-of-00001\.parquet: no row of test has anything in 'labels'.*Fill it, and build",
        ),
    ],
)
def test_other_columns_and_labels_are_named_before_anybody_is_asked(
    toy: Made, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], message: str
) -> None:
    asked: list[str] = []
    dataset = foreign(toy, tmp_path, change)
    with pytest.raises(PermanentError, match=message):
        walk(tmp_path / "data", toy.better, dataset, told=lambda who, chunk: asked.append(chunk))
    assert [] == asked


def test_labels_that_are_json_text_are_the_same_labels(toy: Made, tmp_path: Path) -> None:
    dataset = foreign(toy, tmp_path, lambda row: {**row, "labels": json.dumps(row["labels"])})
    walked = walk(tmp_path / "data", toy.better, dataset, ablations=False)
    lists = walk(toy.data, toy.better, toy.dataset, ablations=False)
    assert figures(lists.report.folder)["models"] == figures(walked.report.folder)["models"]


def test_constant_answers_come_from_rows_that_have_labels(toy: Made, tmp_path: Path) -> None:
    dataset = foreign(toy, tmp_path, lambda row: {**row, "labels": None if row["split"] == "train" else row["labels"]})
    walked = walk(tmp_path / "data", toy.better, dataset, ablations=False)
    found = figures(walked.report.folder)["models"]["each answer as often as in training"]["metrics"]
    assert 0 < found["brier"]["value"] < 0.5
