"""A dataset and a base model into a job: every row that is trained on, every image opened once.

::

    jobs/finetune-lora-3f2a9c01d7b4/
      examples.parquet    rows of train and validation: image and its SHA-256, or why the row is refused (too long, …)
      plan.json           settings, dataset, prompt, label sets; from here on the job exists
      smaller.json        batch sizes after the memory had not been enough, if ever
      checkpoints/        see tasks/training/checkpoints.py
      train.log           what the libraries said
      lock

The job's name is made from what decides the weights: rows and images by content, base model by content, every setting. It
is never made from where they lie, so a moved folder is the same job, and one changed image is another.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from tasks.models.device import Device
from tasks.models.examples import (
    BadExamples,
    Columns,
    Example,
    digest_of,
    image_digests,
    json_list,
    open_image,
    read_examples,
)
from tasks.models.label_sets import LabelSets, UnknownLabel
from tasks.models.messages import MESSAGES, BadConversation, Talk, has_conversations, read_talks
from tasks.models.prompts import CONVERSATION, Prompt, prompt_for
from tasks.pictures.decode import BadImage
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import sha256, write_bytes
from tasks.storage.schemas import TRAINING_EXAMPLES
from tasks.storage.tables import open_parquet, read_table, table_writer
from tasks.training.lora import LoraSettings, check_device
from tasks.training.room import NoRoom, Room, Size

if TYPE_CHECKING:
    from PIL.Image import Image

KIND = "finetune-lora"
VERSION = "finetune-lora/1"
SPLITS = ("train", "validation")
EXAMPLES = "examples.parquet"

# A completion is asked for by the row's prompt alone.
COMPLETION = Prompt("completion/1", "")

_AT_ONCE = 1_000  # rows in memory
_NAMED = 3  # refused rows named in a message
_USED = ""  # in place of a reason


class EmptySplit(PermanentError):
    """A split has no rows to train or to choose on."""


@dataclass(frozen=True, slots=True)
class Source:
    """A version of a dataset.

    Args:
        name: Of the dataset.
        version: Digest of its content.
        licence: As Hugging Face names it, or empty.
        folder: Where it lies now.
        images: What its images' paths are below; None where there are none.
    """

    name: str
    version: str
    licence: str
    folder: Path
    images: Path | None

    def split(self, name: str) -> Path:
        """The Parquet file of a split."""
        return self.folder / "data" / f"{name}-00000-of-00001.parquet"


@dataclass(frozen=True, slots=True)
class Base:
    """The model that gets an adapter.

    Args:
        name: Of the Hub, or a folder.
        digest: Of its weights.
        toy: Whether it is one of our tiny random models.
        sees: Whether it takes images.
        family: Family and version of its prompts' layout.
        setup: Digest of what is read beside the weights: configuration, tokenizer, processor, chat template.
    """

    name: str
    digest: str
    toy: bool
    sees: bool
    family: str = ""
    setup: str = ""

    @property
    def place(self) -> str:
        """Its name for programs that run elsewhere on this machine: a folder's whole path."""
        return str(Path(self.name).absolute()) if Path(self.name).is_dir() else self.name


@dataclass(frozen=True, slots=True)
class Plan:
    """The written description of a training.

    Args:
        folder: The job's folder.
        source: What is learnt from.
        base: What learns.
        columns: Which columns are what; with completions ``labels`` names the column with the completion.
        label_sets: The allowed answers; None where answers are free completions.
        prompt: How each row is asked.
        settings: Every setting, presets included.
        device: Where it is trained.
        processes: How many processes share each step.
        rows: Rows of each split that are used.
        rejected: Refused rows of each split, by reason.
        said: Of each split's conversations: answers, their tokens, all tokens, those of the longest row, rows with a turn
            of the system, and lessons, as the model sees them; empty where there are none.
    """

    folder: Path
    source: Source
    base: Base
    columns: Columns
    label_sets: LabelSets | None
    prompt: Prompt
    settings: LoraSettings
    device: Device
    processes: int
    rows: Mapping[str, int]
    rejected: Mapping[str, Mapping[str, int]]
    said: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def job(self) -> str:
        """The job's name: kind and digest."""
        return self.folder.name

    @property
    def digest(self) -> str:
        """Of all that decides the weights."""
        return self.folder.name.rpartition("-")[2]

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.folder / "checkpoints"

    @property
    def examples_path(self) -> Path:
        """Every row, with its image's SHA-256 or the reason why it is refused."""
        return self.folder / EXAMPLES

    def lessons(self, split: str) -> int:
        """How many rows the Trainer gets of a split: a conversation may be several, see ``Chat.lessons``."""
        return self.said[split]["lessons"] if self.said else self.rows[split]

    def metric(self) -> str:
        """The figure by which the best checkpoint is chosen."""
        chosen = self.settings.metric_for_best_model
        return chosen if chosen != "auto" else "eval_f1_macro" if self.label_sets else "eval_loss"

    def write(self) -> None:
        """Put the plan in place; from now on the job exists."""
        write_bytes(self.folder / "plan.json", _ADAPTER.dump_json(self, indent=2))


_ADAPTER = TypeAdapter(Plan)


def read_plan(folder: Path) -> Plan | None:
    """The plan of a job's folder, or None where the job was not planned to its end.

    Raises:
        TornFile: The file is there and is no plan.
    """
    path = folder / "plan.json"
    if not path.exists():
        return None
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except ValidationError as error:
        raise TornFile(f"{path} is no plan ({error}). Move the folder away and run again.") from error


def source_of(folder: Path, certificate: Mapping[str, Any], images: Path | None) -> Source:
    """A version of a dataset that was held against its certificate.

    Args:
        folder: The version's.
        certificate: Its certificate.
        images: The folder that the images' paths are below; the folder that the dataset was made from when None.

    Raises:
        PermanentError: There is no such folder.
    """
    origin = certificate["source"].get("path", "")
    where = images or (Path(origin) if origin and Path(origin).is_dir() else None)
    if where and not where.is_dir():
        raise PermanentError(f"images={where} is no folder. Give the one that the images' paths are below.")
    licence = certificate["parameters"].get("licence", "")
    return Source(certificate["dataset"], certificate["version"], licence, folder, where and where.absolute())


def find_base(base_model: str) -> Base:
    """A base model before it is loaded.

    Raises:
        PermanentError: It is not there, or not taken.
    """
    from tasks.models.load import find

    found = find(base_model)
    return Base(base_model, found.digest, found.toy, found.sees, found.family, found.setup)


def choose_columns(
    source: Source,
    base: Base,
    text: Sequence[str] | None,
    image: str | None,
    labels: str | None,
    completion: str,
) -> Columns:
    """Which columns are what; with a completion the text is ``prompt``, unless it is named.

    A chat model learns conversations where the dataset has a column ``messages``, none with labels, and none was named.

    Raises:
        BadExamples: A column is missing, or nothing is left to look at.
        PermanentError: The base model takes no images and one was named, or it takes images and there are none.
    """
    path = source.split("train")
    if not path.is_file():
        raise _no_split(source, "train")
    if not base.sees and not completion and text is None and labels is None and not image:
        with open_parquet(path) as file:
            if has_conversations(file.schema_arrow) and not {"label", "labels"} & set(file.schema_arrow.names):
                return Columns((), "", "", MESSAGES)
    if completion:
        text, image = text or ["prompt"], image or ""
    columns = Columns.guess(path, text, image if base.sees or image else "", completion or labels)
    if base.sees and not columns.image:
        raise PermanentError(
            f"{base.name} takes images, and {path} has no column with any. Name it: image_column; or take a chat model, "
            "which learns from texts alone, conversations among them."
        )
    if columns.image and not base.sees:
        raise PermanentError(f"{base.name} takes no images. Take another base model, or give image_column=''.")
    return columns


def plan(
    jobs: Path,
    source: Source,
    base: Base,
    settings: LoraSettings,
    labels: Sequence[str] | None,
    columns: Columns,
    completions: bool,
    device: Device,
    processes: int,
    allowed: Sequence[Sequence[str]] | None = None,
) -> Plan:
    """Find or make the job.

    Args:
        jobs: The folder of jobs.
        source: A version that was held against its certificate.
        base: The base model.
        settings: Presets included.
        labels: The labels in their order; those of the splits when None.
        columns: Which columns are what.
        completions: Whether ``columns.labels`` holds free completions.
        device: Where it is trained.
        processes: How many processes share each step.
        allowed: The allowed sets of labels; every set, or one label each, when None.

    Raises:
        EmptySplit: Nothing is left to train or to choose on.
        UnknownLabel: A row has another label; the message names it.
        PermanentError: Columns, settings or device do not go together.
    """
    check_device(settings, device)
    writes = completions or bool(columns.messages)
    if not columns.labels and not writes:
        raise BadExamples(
            f"{source.split('train')} has no column with labels, nor one with completions. Name it: label_column or "
            "completion_column; a chat model also takes conversations in a column messages."
        )
    what = "completions" if completions else "conversations"
    if writes and settings.metric_for_best_model not in ("auto", "eval_loss"):
        raise PermanentError(
            f"metric_for_best_model={settings.metric_for_best_model} needs labels; {what} have eval_loss alone."
        )
    if columns.image and source.images is None:
        raise PermanentError(f"The images of {source.name} lie somewhere. Give their folder: images=…")
    if lacking := next((split for split in SPLITS if not source.split(split).is_file()), None):
        raise _no_split(source, lacking)
    if writes and allowed:
        raise PermanentError(f"label_sets are for rows with labels; {what} have none. Leave it empty.")
    label_sets = None if writes else _label_sets(source, labels, allowed, columns)
    prompt = prompt_for(label_sets) if label_sets else COMPLETION if completions else CONVERSATION
    identity = {
        "code": VERSION,
        "dataset": [source.name, source.version],
        "images": _images_digest(source, columns),
        "base": base.digest,
        "family": base.family,
        "setup": base.setup,
        "columns": asdict(columns),
        "labels": label_sets.plain() if label_sets else None,
        "prompt": [prompt.name, prompt.system, prompt.user],
        "settings": settings.model_dump(mode="json"),
        "device": device,
        "processes": processes,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]
    folder = jobs / f"{KIND}-{digest}"
    if known := read_plan(folder):
        again = replace(known, source=source, base=base)
        if again != known:
            again.write()
        return again
    said: dict[str, Counter[str]] = {}
    if columns.messages:
        said = {split: Counter(longest=0, with_system=0) for split in SPLITS}
        rows = _conversations(source, base, settings, said)
    else:
        room = Room(base.name, prompt, label_sets, settings.min_pixels, settings.max_pixels)
        rows = chain.from_iterable(_checked(source, split, columns, room) for split in SPLITS)
    found: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    told: dict[str, list[str]] = {split: [] for split in SPLITS}
    with table_writer(folder / EXAMPLES, TRAINING_EXAMPLES, {"job": folder.name}) as writer:
        while some := list(islice(rows, _AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, TRAINING_EXAMPLES.columns))
            for row in some:
                found[row["split"]][row["error"] or _USED] += 1
                if row["message"] and len(told[row["split"]]) < _NAMED:
                    told[row["split"]].append(row["message"])
    used = {split: counts.pop(_USED, 0) for split, counts in found.items()}
    for split in SPLITS:
        if not used[split]:
            _refuse_empty(source.split(split), split, found[split].total(), told[split])
    rejected = {split: dict(sorted(counts.items())) for split, counts in found.items()}
    made = Plan(folder, source, base, columns, label_sets, prompt, settings, device, processes, used, rejected, said)
    made.write()
    return made


def rejected_rows(plan: Plan) -> list[dict[str, Any]]:
    """The refused rows of a job, each with its reason."""
    table = read_table(plan.examples_path, TRAINING_EXAMPLES)
    rows: list[dict[str, Any]] = table.filter(pc.is_valid(table["error"])).to_pylist()
    return rows


def _no_split(source: Source, split: str) -> EmptySplit:
    return EmptySplit(
        f"{source.folder} has no split {split!r}. Training needs {' and '.join(SPLITS)}: build the splits again, with a "
        "share for each. Where the table's official splits lack one, name some rows' so in its column split, or give "
        "official='ignore'."
    )


def _label_sets(
    source: Source, labels: Sequence[str] | None, allowed: Sequence[Sequence[str]] | None, columns: Columns
) -> LabelSets:
    """The allowed answers; every row's labels are one of them."""
    where: dict[tuple[str, ...], str] = {}  # the first row with these labels
    for path in map(source.split, SPLITS):
        for row in read_examples(path, columns):
            if row.labels is not None and row.labels not in where:
                where[row.labels] = f"{path}, row {row.row}"
    known = labels or sorted({label for each in where for label in each})
    if not known:
        raise BadExamples(f"{source.folder}: the column {columns.labels!r} holds no label at all. Name another one.")
    if unnamed := next((each for each in where if "" in each), None):
        raise BadExamples(
            f"{where[unnamed]}: a label in {columns.labels!r} is empty. Correct the table: an empty list where no label "
            "holds, null where nothing is known."
        )
    with open_parquet(source.split("train")) as file:
        column = file.schema_arrow.field(columns.labels).type
    is_list = pa.types.is_list(column) or pa.types.is_large_list(column)
    # A text is one label, or a list as JSON: then some row has several, or none.
    is_list = is_list or any(len(each) != 1 for each in where)
    all_of_them = LabelSets.every if is_list else LabelSets.one_of
    sets = LabelSets.these(allowed, labels or ()) if allowed else all_of_them(known)
    named = "label_sets" if allowed else "labels"
    for each, row_of_it in where.items():
        try:
            sets.number(each)
        except UnknownLabel as error:
            raise UnknownLabel(f"{row_of_it}: {error} Correct `{named}`, or the table.") from error
    return sets


def _images_digest(source: Source, columns: Columns) -> str:
    """SHA-256 of ``[["train", "<of each image>", …], ["validation", …]]``."""

    def listed(split: str) -> Iterator[str]:
        images = source.images if columns.image else None
        rows = read_examples(source.split(split), Columns((), columns.image, "")) if images else ()
        return json_list(chain([split], image_digests(images or Path(), rows)))

    return digest_of(chain("[", listed("train"), ", ", listed("validation"), "]"))


def _checked(source: Source, split: str, columns: Columns, room: Room) -> Iterator[dict[str, Any]]:
    """Every row of a split, with a reason where it cannot be learnt from."""
    images = source.images if columns.image else None

    def check(example: Example) -> tuple[dict[str, Any], Size | None]:
        row: dict[str, Any] = {"split": split, "row": example.row, "id": example.id, "image": example.image or None}
        row |= {"sha256": None, "error": None, "message": None}
        if example.labels is None:
            return row | {"error": "no-label", "message": f"Row {example.row}: {columns.labels} is empty."}, None
        if images is None:
            if example.text:
                return row, None
            message = f"Row {example.row} has no text, so there is nothing to see."
            return row | {"error": "empty", "message": message}, None
        try:
            size = open_image(images, example).size
            return row | {"sha256": sha256(images / example.image)}, size
        except BadImage as error:
            return row | {"error": error.code, "message": str(error)}, None

    examples = read_examples(source.split(split), columns)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        while some := list(islice(examples, _AT_ONCE)):
            for example, (row, size) in zip(some, threads.map(check, some), strict=True):
                if row["error"] is None:
                    try:
                        room.check(example.text, (example.labels or ("",))[0], size, partial(_open, images, example))
                    except NoRoom as error:
                        row |= {"error": error.code, "message": f"Row {example.row} {error}"}
                yield row


def _open(images: Path | None, example: Example) -> Image:
    return open_image(images or Path(), example)


def _conversations(
    source: Source, base: Base, settings: LoraSettings, said: Mapping[str, Counter[str]]
) -> Iterator[dict[str, Any]]:
    """Every conversation, with a reason where it cannot be learnt from; what is said in the others is counted."""
    from tasks.models.load import find_speaker

    family, window = find_speaker(base.name)
    most = min(settings.max_length or window, window)
    for split in SPLITS:
        counts = said[split]
        for talk in read_talks(source.split(split)):
            row: dict[str, Any] = {"split": split, "row": talk.row, "id": talk.id, "image": None, "sha256": None}
            try:
                lessons = [family.answered(each) for each in family.lessons(talk.messages or ())]
                longest = max(len(each.tokens) for each in lessons)
                if longest > most:
                    raise BadConversation(
                        "too-long",
                        f"has {longest:,} tokens, and at most {most:,} are taken (max_length, and {window:,} by "
                        f"{base.name}). It is not cut: an answer without its end would be learnt as one.",
                    )
            except BadConversation as error:
                yield row | {"error": error.code, "message": f"Row {talk.row} {error}"}
                continue
            yield row | {"error": None, "message": None}
            counts.update(
                lessons=len(lessons),
                tokens=sum(len(each.tokens) for each in lessons),
                answer_tokens=sum(sum(each.said) for each in lessons),
                **_turns(talk),
            )
            counts["longest"] = max(counts["longest"], longest)


def _turns(talk: Talk) -> dict[str, int]:
    roles = [message["role"] for message in talk.messages or ()]
    return {"answers": roles.count("assistant"), "with_system": roles.count("system")}


def _refuse_empty(path: Path, split: str, rows: int, told: Sequence[str]) -> None:
    if not rows:
        raise EmptySplit(f"{path} has no rows. Build the splits again, with a share for {split}.")
    raise EmptySplit(f"{path}: none of the {rows:,} rows can be used. {' '.join(told)}")
