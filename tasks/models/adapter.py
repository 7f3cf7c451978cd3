"""An adapter and the record of how it came about, one folder that is never changed::

    adapters/mmhs-3f2a9c01d7b4/
        adapter_model.safetensors  adapter_config.json     PEFT's own
        processor_config.json  tokenizer.json  …           how images and texts become tensors
        trasvase.json                                      the record, with the SHA-256 of each of these
        README.md  …                                       the card and whatever else no library reads; may change

``trasvase.json`` begins with ``{"base_model": "google/paligemma2-3b-pt-224", "base_digest": "9c01…", …}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tasks.models.examples import Columns
from tasks.models.prompts import Prompt
from tasks.storage.errors import PermanentError
from tasks.storage.files import sha256, write_bytes

RECORD = "trasvase.json"
WEIGHTS = "adapter_model.safetensors"
PICKLES = frozenset((".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"))  # these run code when they are read
_READ_BY_LIBRARIES = frozenset((".json", ".jinja", ".model", ".safetensors", ".txt"))


class BadAdapter(PermanentError):
    """A folder that is no adapter of ours, or not as it was written."""


@dataclass(frozen=True)
class AdapterRecord:
    """How an adapter came about, and what it must be used with.

    Args:
        base_model: Folder or name on the hub of the model below it.
        base_digest: SHA-256 over that model's weights, as ``Loaded.digest``.
        family: The family's name and version.
        prompt: What it was asked.
        label_sets: ``LabelSets.plain`` of the answers; None where it was trained to write text.
        columns: Which columns of the data set it saw.
        min_pixels: The least and
        max_pixels: the most pixels of an image; None where the processor's own hold.
        dtype: What it was trained in.
        load_in_4bit: Whether the base was quantised meanwhile.
        dataset: Name and version.
        settings: All settings of the training.
        seed: Of the training.
        versions: Of the packages.
        environment: Machine and commit.
        images: The folder that its images' paths were below; None where it saw none, or nobody wrote it down.
        toy: Whether the base is a tiny random model.
        files: SHA-256 of the files that libraries read, by name; ``write_record`` fills it in.
    """

    base_model: str
    base_digest: str
    family: str
    prompt: Prompt
    label_sets: dict[str, list[str] | list[list[str]]] | None
    columns: Columns
    min_pixels: int | None
    max_pixels: int | None
    dtype: str
    load_in_4bit: bool
    dataset: dict[str, str]
    settings: dict[str, Any]
    seed: int
    versions: dict[str, str]
    environment: dict[str, Any]
    images: str | None = None
    toy: bool = False
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights: which adapter this is."""
        return self.files[WEIGHTS]


def write_record(folder: Path, record: AdapterRecord) -> Path:
    """Seal a folder that holds everything else.

    Raises:
        BadAdapter: There are no weights, or a pickle is among the files.
        DiskFull: No room.
    """
    _no_pickles(folder)
    files = {path.name: sha256(path) for path in _read_by_libraries(folder)}
    if WEIGHTS not in files:
        raise BadAdapter(f"{folder} has no {WEIGHTS}. Save the adapter with save_pretrained first.")
    content = json.dumps(asdict(replace(record, files=files)), ensure_ascii=False, indent=1) + "\n"
    return write_bytes(folder / RECORD, content.encode())


def read_adapter(folder: Path) -> AdapterRecord:
    """Read a record and hold the files against it.

    Raises:
        BadAdapter: It has no record, a file is missing, changed or a pickle, or it holds no LoRA.
    """
    try:
        record = TypeAdapter(AdapterRecord).validate_json((folder / RECORD).read_bytes())
    except OSError as error:
        raise BadAdapter(
            f"{folder} is no adapter of this project: {RECORD} cannot be read ({error.strerror}). Name a folder that "
            "finetune-lora has left."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BadAdapter(f"{folder / RECORD} is damaged at {where}: {first['msg']}. Take the adapter anew.") from error
    _no_pickles(folder)
    for name, digest in record.files.items():
        path = folder / name
        if path.parent != folder or not path.is_file():
            raise BadAdapter(f"{folder} lacks {name}, which its record names. Take the adapter anew.")
        if sha256(path) != digest:
            raise BadAdapter(f"{path} is not as it was written. Take the adapter anew.")
    if more := [path for path in _read_by_libraries(folder) if path.name not in record.files]:
        raise BadAdapter(f"{more[0]} came later: the record does not name it. Take it away.")
    if WEIGHTS not in record.files or "adapter_config.json" not in record.files:
        raise BadAdapter(f"{folder} has no {WEIGHTS} with its adapter_config.json. Take the adapter anew.")
    config = json.loads((folder / "adapter_config.json").read_bytes())
    if config.get("peft_type") != "LORA" or config.get("megatron_config"):  # the latter imports whatever it names
        raise BadAdapter(f"{folder} holds {config.get('peft_type')!r}, and only plain LORA is taken.")
    return record


def _read_by_libraries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _READ_BY_LIBRARIES and path.name != RECORD)


def _no_pickles(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.suffix in PICKLES:
            raise BadAdapter(f"{path} may run code when it is read, so it is refused. Save it as safetensors.")
