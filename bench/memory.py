"""Peak memory of walks over memes, by rows: reading, splitting, training, evaluating, classifying.

    python -m bench.memory [--rows 2000 10000 40000] [--labels 5] [--only read split plan train evaluate classify]

Everything is the flows' own code without Prefect, but nobody is asked: what a reader or a model would say is drawn by
chance, in its true shape (all sets of ``--labels`` labels have a probability, CLIP leaves two heat maps of 16 x 16).
So what grows with the rows is ours. Of a training, `plan` is what the flow does before it, and `train` what its processes
hold of the rows, each of which is fetched once in a random order; there are no weights. Images are 32 x 32 pixels of
noise. Each walk runs in a process of its own, once; its memory is the highest of that process after each step, less what
it had before the first one, when all modules were loaded.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sklearn.linear_model  # noqa: F401  # what walks load on their way is loaded before they begin
from PIL import Image

import tasks.models.predict  # noqa: F401
from data.samples import toy_models
from tasks.chunks.file import write_chunk
from tasks.evaluation import chunk as answers
from tasks.evaluation.gather import gather
from tasks.evaluation.plan import data_of, plan, subjects_of
from tasks.memes.chunk import read_images
from tasks.memes.collect import collect as collect_memes
from tasks.memes.plan import plan as plan_reading
from tasks.memes.readers.protocol import Line
from tasks.memes.report import write_report as report_memes
from tasks.models.adapter import WEIGHTS, AdapterRecord
from tasks.models.examples import Columns
from tasks.models.families.protocol import Family
from tasks.models.label_sets import LabelSets
from tasks.models.load import find_family
from tasks.models.prompts import prompt_for
from tasks.scoring.report import write_report as report_evaluation
from tasks.splits.build import Wanted, build, check_version
from tasks.storage.files import write_bytes
from tasks.storage.root import DataRoot
from tasks.storage.schemas import MEME_FILES, MEME_READINGS, MEMES_TO_CLASSIFY, PREDICTIONS
from tasks.storage.tables import read_group
from tasks.training.batches import Rows
from tasks.training.lora import LoraSettings
from tasks.training.plan import SPLITS, Plan, find_base, read_plan, source_of
from tasks.training.plan import plan as plan_training
from tasks.zeroshot.catalog import classes_of, images_of, read_catalog
from tasks.zeroshot.chunk import SHAPES
from tasks.zeroshot.collect import collect as collect_classified
from tasks.zeroshot.plan import CLIP, VLM
from tasks.zeroshot.plan import plan as plan_classifying
from tasks.zeroshot.report import write_report as report_classified

CHUNK = 256
PATCHES = 16
WORDS = [
    start + end for start in "ba ce di fo gu la me ni po ru sa te".split() for end in "lan mer tis von duk".split()
]
LABELS = ("toxic", "non_toxic")

Step = tuple[str, Callable[[], object]]


def main() -> None:
    """Print one line per walk and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000, 10_000, 40_000])
    parser.add_argument("--labels", type=int, default=5)
    parser.add_argument("--only", choices=WALKS, nargs="+", default=list(WALKS))
    options = parser.parse_args()
    print(f"{2**options.labels} sets of labels, {CHUNK} rows a chunk, load {os.getloadavg()[0]:.1f}\n")
    print(f"| walk | rows | before, MB | more after each step, MB | CPU s |\n{'|---' * 5}|")
    context = multiprocessing.get_context("spawn")
    for name in options.only:
        for rows in options.rows:
            with tempfile.TemporaryDirectory() as folder:
                for work, what in ((_prepare, (name,)), (_measure, (name,))):
                    process = context.Process(target=work, args=(*what, Path(folder), rows, options.labels))
                    process.start()
                    process.join()
                    if process.exitcode:
                        raise SystemExit(f"{name} with {rows} rows ended with {process.exitcode}.")


def _prepare(name: str, folder: Path, rows: int, labels: int) -> None:
    """What a walk starts from; in another process, so that its memory does not count."""
    trains, tenth = name in ("plan", "train"), rows // 10
    splits = {"train": rows, "validation": tenth} if trains else {"test": rows, "train": tenth, "validation": tenth}
    if name != "split":
        draw_images(folder / "images", sum(splits.values()) if trains or name == "evaluate" else rows)
    if trains or name in ("split", "evaluate"):
        write_rows(folder, splits, every(labels))
    if trains or name == "evaluate":
        build(folder / "tables" / "drawn.parquet", folder / "datasets", "drawn", Wanted(("image",)))
    if trains:
        toy_models.paligemma(folder / "base")
    if name == "train":
        training_plan(folder, labels)
    if name == "classify":
        for _, act in reading(folder, labels):
            act()


def _measure(name: str, folder: Path, rows: int, labels: int) -> None:
    steps = WALKS[name](folder, labels)
    before, worked, told = _peak(), time.process_time(), []
    for step, act in steps:
        act()
        told.append(f"{step} {_peak() - before:,.0f}")
    cpu = time.process_time() - worked
    print(f"| {name} | {rows:,} | {before:,.0f} | {', '.join(told)} | {cpu:.1f} |", flush=True)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def every(labels: int) -> LabelSets:
    """All sets of so many labels."""
    return LabelSets.every([f"label-{number}" for number in range(labels)])


def draw_images(folder: Path, rows: int) -> None:
    """Noise, half of it in each of two folders."""
    for label in LABELS:
        (folder / label).mkdir(parents=True)
    for row in range(rows):
        pixels = np.random.default_rng(row).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / path_of(row))


def path_of(row: int) -> str:
    """An image's path below the folder."""
    return f"{LABELS[row % 2]}/{row:06d}.png"


def words_of(row: int) -> str:
    """A text of twelve words."""
    return " ".join(np.random.default_rng(row).choice(WORDS, 12))


def write_rows(folder: Path, counts: Mapping[str, int], sets: LabelSets) -> None:
    """A table with official splits of so many rows."""
    splits = [split for split, rows in counts.items() for _ in range(rows)]
    number = np.random.default_rng(0).integers(0, len(sets.sets), len(splits))
    table = pa.table(
        {
            "id": [f"row-{row}" for row in range(len(splits))],
            "text": [words_of(row) for row in range(len(splits))],
            "image": [path_of(row) for row in range(len(splits))],
            "labels": [list(sets.sets[each]) for each in number],
            "split": splits,
        }
    )
    (folder / "tables").mkdir()
    pq.write_table(table, folder / "tables" / "drawn.parquet", row_group_size=5_000)  # as prepare-mmhs writes it
    provenance = {"source": {"path": str(folder / "images")}, "licence": "cc0-1.0"}
    write_bytes(folder / "tables" / "drawn.provenance.json", json.dumps(provenance).encode())


def splitting(folder: Path, _labels: int) -> Iterator[Step]:
    """build-splits."""
    table, wanted = folder / "tables" / "drawn.parquet", Wanted(("image",))
    yield "build", lambda: build(table, folder / "datasets", "drawn", wanted)


class _Reader:
    name = "drawn/1"

    def read(self, images: Sequence[Image.Image]) -> list[list[Line]]:
        """One line on each."""
        return [[Line("ДОБРОЕ УТРО", 1, 1, 30, 10, 90.0)] for _ in images]


def reading(folder: Path, _labels: int) -> Iterator[Step]:
    """read-memes."""
    root, reader = DataRoot(folder), _Reader()
    kept: dict[str, Any] = {}

    def planned() -> None:
        asked = {"labels": {}, "reader": "drawn", "languages": ["ru"]}
        kept["job"] = plan_reading(
            folder / "images", None, root.jobs, CHUNK, asked, {"code": "1", "reader": reader.name}
        )

    def read() -> None:
        job = kept["job"]
        for chunk in job.chunks():
            rows = read_group(job.rows_path, MEME_FILES, chunk.number).to_pylist()
            write_chunk(read_images(rows, folder / "images", reader), chunk, job, MEME_READINGS)

    def collected() -> None:
        kept["tables"] = collect_memes(kept["job"], root.tables, "memes")

    yield "plan", planned
    yield "chunks", read
    yield "collect", collected
    yield "report", lambda: report_memes(root.reports / "read-memes", kept["job"], kept["tables"])


def training_plan(folder: Path, labels: int) -> Plan:
    """finetune-lora's job on a toy."""
    version = next((folder / "datasets" / "drawn").iterdir())
    source = source_of(version, check_version(version), None)
    base, columns = find_base(str(folder / "base")), Columns(("text",), "image", "labels")
    names = every(labels).labels
    return plan_training(folder / "jobs", source, base, LoraSettings(), names, columns, False, "cpu", 1)


def _family(folder: Path, labels: int) -> Family:
    return find_family(str(folder / "base"), prompt_for(every(labels)), None, None)[0]


def planning(folder: Path, labels: int) -> Iterator[Step]:
    """finetune-lora, before anything is trained."""
    _family(folder, labels)  # loads what the plan would load
    return iter([("plan", lambda: training_plan(folder, labels))])


def training(folder: Path, labels: int) -> Iterator[Step]:
    """The rows in a process that trains."""
    sets, family = every(labels), _family(folder, labels)
    answers = [family.answer_tokens(sets.answer(number)) for number in range(len(sets.sets))]
    plan = read_plan(next((folder / "jobs").iterdir()))
    assert plan
    kept: dict[str, Rows] = {}

    def opened() -> None:
        kept.update({split: Rows(plan, split, family, answers) for split in SPLITS})

    def fetched() -> None:
        for at in np.random.default_rng(0).permutation(len(kept["train"])):
            kept["train"][int(at)]

    return iter([("open", opened), ("fetch", fetched)])


class _Scorer:
    """Says of every answer what chance says."""

    sees, batch = True, answers.BATCH

    def __init__(self, label_sets: LabelSets) -> None:
        self.label_sets = label_sets
        self._random = np.random.default_rng(0)

    def score(self, texts: Sequence[str], _images: Sequence[Any]) -> np.ndarray[Any, Any]:
        """Log-probabilities of all sets."""
        shares = self._random.dirichlet(np.full(len(self.label_sets.sets), 0.1), len(texts))
        return np.log(np.maximum(shares, 1e-300))


def evaluating(folder: Path, labels: int) -> Iterator[Step]:
    """evaluate-adapter, with an adapter in use to compare with."""
    sets = every(labels)
    kept: dict[str, Any] = {}
    scorer: Any = _Scorer(sets)

    def record(digest: str) -> AdapterRecord:
        return AdapterRecord(
            base_model="drawn",
            base_digest="0" * 64,
            family="drawn/1",
            prompt=prompt_for(sets),
            label_sets=sets.plain(),
            columns=Columns(("text",), "image", "labels"),
            min_pixels=None,
            max_pixels=None,
            dtype="float32",
            load_in_4bit=False,
            dataset={"name": "drawn", "version": "0"},
            settings={},
            seed=0,
            versions={},
            environment={},
            files={WEIGHTS: digest},
        )

    def planned() -> None:
        version = next((folder / "datasets" / "drawn").iterdir())
        data = kept["data"] = data_of(version, check_version(version), "test", None)
        previous = (folder / "previous", record("1" * 64))
        found = subjects_of(folder / "new", record("0" * 64), previous, data, "score", True, "cpu")
        kept["subjects"] = plan(found, data, folder / "jobs", CHUNK)

    def predicted() -> None:
        data = kept["data"]
        for subject in kept["subjects"]:
            text = subject.role == "text"
            model: Any = answers.fit_texts(data.path("train"), subject.record.columns, sets) if text else scorer
            for job in subject.jobs.values():
                for chunk in job.pending(PREDICTIONS):
                    if text:
                        answers.predict_texts(chunk, job, subject, model)
                    else:
                        answers.predict_chunk(chunk, job, subject, data, model, print)

    def gathered() -> None:
        kept["found"] = gather(kept["subjects"], kept["data"], folder / "report", "f1_micro", 0.0, [])

    yield "plan", planned
    yield "chunks", predicted
    yield "gather", gathered
    yield "report", lambda: report_evaluation(folder / "report", kept["found"])


def _told(row: Mapping[str, Any], kind: str) -> dict[str, Any]:
    share = np.random.default_rng(row["row"] + len(kind)).random()
    answer = {"answer": LABELS[share < 0.5], "probabilities": [share, 1 - share]}
    if kind == VLM:
        more = {"vlm_valid": 0.9, "explanation": "На картинке шум, и подпись на ней ничего не значит. " * 3}
        return {
            **row,
            **{f"vlm_{name}": value for name, value in answer.items()},
            **more,
            "error": None,
            "message": None,
        }
    heat = np.random.default_rng(row["row"]).random((2, PATCHES * PATCHES))
    said = {f"{who}_{name}": value for who in ("clip", "clip_text") for name, value in answer.items()}
    maps = {"seen": [0, 0, 32, 32], "eigen": heat[0], "grad": heat[1]}
    return {**row, **said, "words": 2, "words_used": 2, **maps, "error": None, "message": None}


def classifying(folder: Path, _labels: int) -> Iterator[Step]:
    """classify-memes."""
    root = DataRoot(folder)
    kept: dict[str, Any] = {}
    table = root.tables / "memes.parquet"

    def planned() -> None:
        asked = {"model": "drawn", "labels": list(classes_of(table, LABELS)), "device": "cpu"}
        catalog = read_catalog(table, images_of(table, None))
        kept["jobs"] = [plan_classifying(kind, catalog, root.jobs, CHUNK, asked, {"code": "1"}) for kind in (VLM, CLIP)]

    def asked() -> None:
        for job in kept["jobs"]:
            for chunk in job.chunks():
                rows = read_group(job.rows_path, MEMES_TO_CLASSIFY, chunk.number).to_pylist()
                write_chunk([_told(row, job.kind) for row in rows], chunk, job, SHAPES[job.kind])

    def collected() -> None:
        vlm, clip = kept["jobs"]
        kept["tables"] = collect_classified(vlm, clip, table, root.tables, "memes-classified")

    yield "plan", planned
    yield "chunks", asked
    yield "collect", collected
    yield "report", lambda: report_classified(root.reports / "classify-memes", kept["tables"], 100)


WALKS: dict[str, Callable[[Path, int], Iterator[Step]]] = {
    "read": reading,
    "split": splitting,
    "plan": planning,
    "train": training,
    "evaluate": evaluating,
    "classify": classifying,
}


if __name__ == "__main__":
    main()
