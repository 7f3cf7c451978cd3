from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.models.examples import Columns
from tasks.splits.build import Dataset, Wanted, build, check_version, find_version
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.schemas import TRAINING_EXAMPLES
from tasks.storage.tables import read_table
from tasks.training.devices import count_processes
from tasks.training.lora import LoraSettings
from tasks.training.plan import Base, Plan, Source, choose_columns, plan, read_plan, rejected_rows, source_of
from tests.training.toy import LABELS

BASE = Base("toy", "digest", toy=True, sees=True)
READS = Base("chat", "digest", toy=True, sees=False)
COLUMNS = Columns(("text",), "image", "labels")

Squares = tuple[Dataset, Path]
Toys = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _bases(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two bases have no weights here, but toys' tokenizers."""
    from tasks.models import load

    find, kinds = load.find_family, {"toy": "paligemma", "chat": "mistral"}
    monkeypatch.setattr(
        load, "find_family", lambda base, *how: find(str(toys(kinds[base])) if base in kinds else base, *how)
    )


def _plan(jobs: Path, squares: Squares, **how: Any) -> Plan:
    made, images = squares
    usual: dict[str, Any] = {"settings": LoraSettings(), "labels": LABELS, "columns": COLUMNS, "base": BASE}
    how = usual | how
    return plan(
        jobs,
        how.pop("source", None) or source_of(made.folder, made.certificate, images),
        how["base"],
        how["settings"],
        how["labels"],
        how["columns"],
        how.get("completions", False),
        "cpu",
        1,
        how.get("allowed"),
    )


@pytest.fixture
def frozen(tmp_path: Path) -> Callable[..., Dataset]:
    """Makes a version of these rows with official splits."""

    def freeze(rows: list[dict[str, Any]], held_out: int = 1, split: str = "validation") -> Dataset:
        splits = [split] * held_out + ["train"] * (len(rows) - held_out)
        table = tmp_path / "table.parquet"
        named = [
            {"image": f"{n}.png", **row, "split": split}
            for n, (row, split) in enumerate(zip(rows, splits, strict=True))
        ]
        pq.write_table(pa.Table.from_pylist(named), table)
        return build(table, tmp_path / "datasets", "mine", Wanted(("image",)))

    return freeze


def test_the_same_is_found_and_anything_else_is_another_job(squares: Squares, tmp_path: Path) -> None:
    first = _plan(tmp_path, squares)
    assert first == _plan(tmp_path, squares) == read_plan(first.folder)
    others = [
        _plan(tmp_path, squares, settings=LoraSettings(seed=1)),
        _plan(tmp_path, squares, labels=LABELS[::-1]),
        _plan(tmp_path, squares, base=Base("toy", "another digest", toy=True, sees=True)),
        _plan(tmp_path, squares, base=replace(BASE, family="toy/2")),
        _plan(tmp_path, squares, base=replace(BASE, setup="another chat template")),
        _plan(tmp_path, squares, columns=Columns((), "image", "labels")),
    ]
    assert 7 == len({first.job, *(other.job for other in others)})
    rows = read_table(first.examples_path, TRAINING_EXAMPLES)
    assert sum(first.rows.values()) == rows.num_rows
    assert {"train": {}, "validation": {}} == first.rejected


def test_a_moved_folder_is_the_same_job_and_a_changed_image_another(squares: Squares, tmp_path: Path) -> None:
    made, images = squares
    moved = tmp_path / "moved"
    shutil.copytree(images, moved)
    first = _plan(tmp_path / "jobs", squares)
    again = _plan(tmp_path / "jobs", (made, moved))
    assert (first.job, moved) == (again.job, again.source.images)
    assert again == read_plan(again.folder)
    row = pq.read_table(again.source.split("train")).to_pylist()[0]
    shutil.copy(images / pq.read_table(again.source.split("train")).to_pylist()[1]["image"], moved / row["image"])
    assert first.job != _plan(tmp_path / "jobs", (made, moved)).job


def test_images_that_cannot_be_read_are_refused_by_name_and_never_replaced(squares: Squares, tmp_path: Path) -> None:
    made, images = squares
    broken = tmp_path / "images"
    shutil.copytree(images, broken)
    rows = pq.read_table(made.folder / "data" / "train-00000-of-00001.parquet").to_pylist()
    (broken / rows[0]["image"]).unlink()
    (broken / rows[1]["image"]).write_bytes((broken / rows[1]["image"]).read_bytes()[:60])
    (broken / rows[2]["image"]).write_text("GIF")
    made_plan = _plan(tmp_path / "jobs", (made, broken))
    assert {"damaged": 1, "missing": 1, "unknown-format": 1} == made_plan.rejected["train"]
    assert made_plan.rows["train"] == len(rows) - 3
    told = [row["message"] for row in rejected_rows(made_plan)]
    assert all(row["image"] in message for row, message in zip(rows, told, strict=False))
    assert told[0].startswith("Row 0: ")


def test_rows_beside_refused_ones_keep_their_images_labels_and_numbers(squares: Squares, tmp_path: Path) -> None:
    from tasks.models.load import find_family
    from tasks.training.batches import Rows

    made, images = squares
    broken = tmp_path / "images"
    shutil.copytree(images, broken)
    path = made.folder / "data" / "train-00000-of-00001.parquet"
    rows = pq.read_table(path).to_pylist()
    for at in (0, 3, len(rows) - 1):
        (broken / rows[at]["image"]).unlink()
    planned = _plan(tmp_path / "jobs", (made, broken))
    assert planned.label_sets
    family, _ = find_family("toy", planned.prompt, None, None)
    answers = [family.answer_tokens(planned.label_sets.answer(n)) for n in range(len(planned.label_sets.sets))]
    usable = Rows(planned, "train", family, answers)
    items = [usable[at] for at in range(len(usable))]
    assert [at for at in range(len(rows) - 1) if at not in (0, 3)] == [item.row for item in items]
    for item in items:
        row = rows[item.row]
        number = planned.label_sets.number(row["labels"])
        assert (row["text"], number, answers[number]) == (item.text, item.number, item.tokens)
        assert item.image
        with Image.open(images / row["image"]) as drawn:
            assert drawn.convert("RGB").tobytes() == item.image.tobytes()

    shorter = replace(planned, source=replace(planned.source, folder=tmp_path))
    (tmp_path / "data").mkdir()
    pq.write_table(pq.read_table(path).slice(1), shorter.source.split("train"))
    with pytest.raises(PermanentError, match=rf"has {len(rows) - 1} rows and had {len(rows)} when finetune-lora-"):
        Rows(shorter, "train", family, answers)
    content = bytearray(planned.examples_path.read_bytes())
    content[4:200] = bytes(196)
    planned.examples_path.write_bytes(content)
    with pytest.raises(TornFile, match=r"examples\.parquet is damaged"):
        Rows(planned, "train", family, answers)


def test_a_path_that_is_none_is_refused_by_name(frozen: Callable[..., Dataset], tmp_path: Path) -> None:
    for number in range(2):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{number}.png")
    made = frozen([{"text": "a", "image": path, "labels": ["red"]} for path in ("0.png", "1.png", "a\0.png")])
    planned = _plan(tmp_path / "jobs", (made, tmp_path))
    assert {"train": {"missing": 1}, "validation": {}} == planned.rejected
    assert "Row 1: its image 'a\\x00.png' is no path. Correct the table." == rejected_rows(planned)[0]["message"]


def test_rows_are_not_held_while_they_are_checked_nor_as_objects_while_they_are_learnt(
    squares: Squares, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.models import examples
    from tasks.models.load import find_family
    from tasks.training import plan
    from tasks.training.batches import Rows

    for module, name in ((examples, "_BATCH"), (plan, "_AT_ONCE")):
        monkeypatch.setattr(module, name, 50)

    def most_and_left(rows: int) -> tuple[int, int]:
        """Bytes of Python's objects: at most while planning, and in the rows to train on."""
        folder = tmp_path / str(rows)
        (folder / "data").mkdir(parents=True)
        source = Source("mine", str(rows), "", folder, None)
        table = pa.table({"text": [f"said {n}" for n in range(rows)], "label": ["red", "blue"] * (rows // 2)})
        for split in ("train", "validation"):
            pq.write_table(table if split == "train" else table.slice(0, 2), source.split(split))
        how = {"source": source, "labels": None, "columns": Columns(("text",), "", "label"), "base": READS}
        tracemalloc.start()
        planned = _plan(tmp_path / "jobs", squares, **how)
        _, most = tracemalloc.get_traced_memory()
        family, _ = find_family("chat", planned.prompt, None, None)
        before, _ = tracemalloc.get_traced_memory()
        kept = Rows(planned, "train", family, [[1], [2]])
        left, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert rows == len(kept)
        return most, left - before

    _plan(tmp_path / "jobs", squares)  # loads modules
    most_and_left(10)
    (most, left), (more, more_left) = most_and_left(100), most_and_left(500)
    assert more < 1.2 * most
    assert more_left - left < 400 * 50, "a position and a hash each"


def test_nothing_usable_names_the_first_rows(squares: Squares, tmp_path: Path) -> None:
    made, _ = squares
    with pytest.raises(PermanentError, match=r"none of the \d+ rows can be used\. Row 0: .* Give the images' folder"):
        _plan(tmp_path, (made, tmp_path))


def test_splits_that_are_missing_or_empty_are_told(frozen: Callable[..., Dataset], tmp_path: Path) -> None:
    made = frozen([{"text": "a", "labels": ["red"]}, {"text": "b", "labels": ["red"]}], split="test")
    with pytest.raises(PermanentError, match=r"has no split 'validation'\. .* give official='ignore'\."):
        _plan(tmp_path, (made, tmp_path), labels=None, columns=Columns(("text",), "", "labels"), base=READS)
    empty = made.folder / "data" / "validation-00000-of-00001.parquet"
    pq.write_table(pq.read_table(made.folder / "data" / "train-00000-of-00001.parquet").slice(0, 0), empty)
    with pytest.raises(PermanentError, match=r"validation-.* has no rows"):
        _plan(tmp_path, (made, tmp_path), labels=None, columns=Columns(("text",), "", "labels"), base=READS)


def test_an_unknown_label_is_named_with_its_row(squares: Squares, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match=r"row \d+: Unknown label 'loud'. Known: red, blue. Correct `labels`"):
        _plan(tmp_path, squares, labels=("red", "blue"))


def test_an_empty_label_is_named_with_its_row(frozen: Callable[..., Dataset], tmp_path: Path) -> None:
    made = frozen([{"text": f"t{n}", "label": ["toxic", "fine", ""][n % 3]} for n in range(9)], held_out=3)
    with pytest.raises(PermanentError, match=r"\.parquet, row 2: a label in 'label' is empty\. Correct the table"):
        _plan(tmp_path, (made, tmp_path), labels=None, columns=Columns(("text",), "", "label"), base=READS)


def test_more_labels_than_eight_are_trained_with_the_sets_that_are_given(
    frozen: Callable[..., Dataset], tmp_path: Path
) -> None:
    made = frozen([{"text": f"t{n}", "labels": [f"label {n}", "odd"][: 1 + n % 2]} for n in range(9)], held_out=3)
    asked: dict[str, Any] = {"labels": None, "columns": Columns(("text",), "", "labels"), "base": READS}
    with pytest.raises(PermanentError, match=r"10 labels have 1,024 sets; .* Give the sets that occur: label_sets\."):
        _plan(tmp_path, (made, tmp_path), **asked)
    sets = [["odd", f"label {n}"] if n % 2 else [f"label {n}"] for n in range(9)]
    planned = _plan(tmp_path, (made, tmp_path), allowed=sets, **asked)
    assert planned.label_sets
    assert [set(each) for each in sets] == [set(each) for each in planned.label_sets.sets]
    with pytest.raises(
        PermanentError, match=r"row \d+: \['label 0'\] is none of .* Correct `label_sets`, or the table"
    ):
        _plan(tmp_path, (made, tmp_path), allowed=[*sets[1:], ["label 0", "odd"]], **asked)
    with pytest.raises(PermanentError, match="label_sets are for rows with labels; completions have none"):
        _plan(tmp_path, (made, tmp_path), allowed=sets, **asked, completions=True)


def test_one_label_a_row_is_a_choice_and_rows_without_are_refused(
    frozen: Callable[..., Dataset], tmp_path: Path
) -> None:
    made = frozen([{"text": f"t{n}", "label": [None, "toxic", "fine"][n % 3]} for n in range(12)], held_out=3)
    planned = _plan(tmp_path, (made, tmp_path), labels=None, columns=Columns(("text",), "", "label"), base=READS)
    assert planned.label_sets
    assert (("fine",), ("toxic",)) == planned.label_sets.sets
    assert {"train": {"no-label": 3}, "validation": {"no-label": 1}} == planned.rejected


def test_a_cell_that_is_no_text_is_told(frozen: Callable[..., Dataset], tmp_path: Path) -> None:
    made = frozen([{"text": 1.0, "labels": ["red"]}, {"text": float("nan"), "labels": ["red"]}])
    with pytest.raises(PermanentError, match=r"row 0: column 'text' holds nan, which is no text"):
        _plan(tmp_path, (made, tmp_path), columns=Columns(("text",), "", "labels"), base=READS)


def test_columns_and_base_have_to_go_together(squares: Squares, frozen: Callable[..., Dataset]) -> None:
    made, images = squares
    source = source_of(made.folder, made.certificate, images)
    assert COLUMNS == choose_columns(source, BASE, None, None, None, "")
    assert Columns(("text",), "", "labels") == choose_columns(source, READS, None, None, None, "")
    with pytest.raises(PermanentError, match="chat takes no images"):
        choose_columns(source, READS, None, "image", None, "")
    with pytest.raises(PermanentError, match="has no column 'words'"):
        choose_columns(source, BASE, ["words"], None, None, "")
    with pytest.raises(PermanentError, match="has no column 'prompt'"):
        choose_columns(source, READS, None, None, None, "text")
    with pytest.raises(PermanentError, match=r"toy takes images, and .* has no column with any"):
        choose_columns(source, BASE, None, "", None, "")


def test_what_is_not_given_is_asked_for(squares: Squares, tmp_path: Path) -> None:
    made, _ = squares
    with pytest.raises(PermanentError, match=r"images=.* is no folder"):
        source_of(made.folder, made.certificate, tmp_path / "nowhere")
    source = source_of(made.folder, made.certificate, None)
    with pytest.raises(PermanentError, match=r"The images of squares lie somewhere. Give their folder"):
        _plan(tmp_path, squares, source=source)
    with pytest.raises(PermanentError, match="no column with labels, nor one with completions"):
        _plan(tmp_path, squares, columns=Columns(("text",), "image", ""))
    with pytest.raises(PermanentError, match="needs labels; completions have eval_loss alone"):
        _plan(
            tmp_path,
            squares,
            columns=Columns(("text",), "", "id"),
            completions=True,
            settings=LoraSettings(metric_for_best_model="eval_f1_macro"),
        )


def test_a_dataset_is_found_by_name_by_version_and_by_folder(squares: Squares, tmp_path: Path) -> None:
    made, _ = squares
    datasets = made.folder.parent.parent
    for named in ("squares", f"squares/{made.folder.name}", str(made.folder)):
        assert made.folder == find_version(datasets, named)
    with pytest.raises(PermanentError, match=r"There is no dataset 'circles'\. .*: squares\."):
        find_version(datasets, "circles")
    with pytest.raises(PermanentError, match="There is no dataset ''"):
        find_version(datasets, "")
    copies = tmp_path / "datasets"
    for version in ("one", "two"):
        shutil.copytree(made.folder, copies / "squares" / version)
    with pytest.raises(PermanentError, match=r"squares has 2 versions. Name one, oldest first: squares/(one|two), "):
        find_version(copies, "squares")


def test_a_dataset_that_was_changed_is_not_trained_on(squares: Squares, tmp_path: Path) -> None:
    folder = tmp_path / "squares"
    shutil.copytree(squares[0].folder, folder)
    path = folder / "data" / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(
        PermanentError, match=r"was changed after it had been written: data/train-.* has another SHA-256"
    ):
        check_version(folder)


def test_a_damaged_plan_is_told(squares: Squares, tmp_path: Path) -> None:
    made = _plan(tmp_path, squares)
    (made.folder / "plan.json").write_text("{}")
    with pytest.raises(TornFile, match="is no plan"):
        _plan(tmp_path, squares)


def test_a_worker_without_gpu_says_what_to_do() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(PermanentError, match=r'There is no GPU that torch .* can use.*or set device="cpu"'):
        count_processes("cuda", 0)
    assert (1, 2) == (count_processes("cpu", 0), count_processes("cpu", 2))
    with pytest.raises(PermanentError, match="processes=-1 is no number of processes"):
        count_processes("cpu", -1)


def test_status_tells_trainings_that_are_done_from_those_that_are_not(squares: Squares, tmp_path: Path) -> None:
    from tasks.cli.status import statuses
    from tasks.storage.root import DataRoot
    from tests.training.test_checkpoints import make

    root = DataRoot(tmp_path)
    made = _plan(root.jobs, squares)
    for step, state in ((0, "unfinished"), (1, "unfinished"), (2, "done")):
        if step:
            make(made.checkpoints, step, stopping=step == 2)
        (status,) = statuses([made.folder], root)
        assert (state, str(made.source.folder), sum(made.rows.values())) == (status.state, status.source, status.rows)


def test_lists_of_labels_as_json_text_may_have_several(frozen: Callable[..., Dataset], tmp_path: Path) -> None:
    labels = ['["a"]', '["b", "a"]', "[]", '["a"]']
    made = frozen([{"image": None, "text": f"text {n}", "labels": text} for n, text in enumerate(labels)])
    columns = Columns(("text",), "", "labels")
    first = _plan(tmp_path, (made, tmp_path), labels=None, columns=columns, base=READS)
    assert first.label_sets is not None
    assert ((), ("a",), ("b",), ("a", "b")) == first.label_sets.sets
    assert {"train": 3, "validation": 1} == first.rows
