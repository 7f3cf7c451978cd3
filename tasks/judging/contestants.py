"""Who writes: a model of a chat service, or one on this machine, with or without an adapter.

::

    mistral:mistral-small-2603      a service
    jokes-3f2a9c01d7b4              an adapter in adapters/, on the base model of its record
    mistralai/Mistral-7B-Instruct-v0.3, or a folder     a base model
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from tasks.models.adapter import AdapterRecord, BadAdapter
from tasks.models.device import Device


class Local(NamedTuple):
    """A model in memory."""

    base_model: str
    adapter: Path | None
    dtype: str
    load_in_4bit: bool
    device: Device


class Remote(NamedTuple):
    """A model of a chat service: the service's name here, and the model's there."""

    chat: str
    model: str


@dataclass(frozen=True)
class Contestant:
    """One of the two.

    Args:
        name: As the report calls it.
        who: What is asked.
        identity: All that decides its texts but the requests and the sampling; enters the job's name.
        versions: Of the code that decides them.
        toy: Whether it is a tiny random model.
    """

    name: str
    who: Local | Remote
    identity: Mapping[str, Any]
    versions: Mapping[str, str]
    toy: bool = False


class Sampling(NamedTuple):
    """How texts are drawn; the same for both contestants."""

    temperature: float
    max_tokens: int
    seed: int


def remote(typed: str, chat: str, model: str, service: str) -> Contestant:
    """A model of a chat service.

    Args:
        typed: As the user named it.
        chat: The service's name here.
        model: The model's name there.
        service: Who answers, such as ``mistral`` or ``mistral@http://…``.
    """
    return Contestant(typed, Remote(chat, model), {"service": service, "model": model}, {})


def of_adapter(folder: Path, record: AdapterRecord, device: Device) -> Contestant:
    """An adapter on its base model, held as it was trained.

    Raises:
        BadAdapter: It was trained to give labels.
    """
    if record.label_sets is not None:
        raise BadAdapter(
            f"{folder} was trained to give labels, not to write. evaluate-adapter measures it; name one that finetune-lora "
            "has trained on messages."
        )
    who = Local(record.base_model, folder, record.dtype, record.load_in_4bit, device)
    identity = {"base": record.base_digest, "adapter": record.digest, **_held(who)}
    return Contestant(folder.name, who, identity, _versions(), record.toy)


def of_base(base_model: str, digest: str, setup: str, toy: bool, load_in_4bit: bool, device: Device) -> Contestant:
    """A base model without an adapter.

    Args:
        base_model: A folder, or a name on the hub.
        digest: Of its weights.
        setup: Of what is read beside them, its chat template among it.
        toy: Whether it is a tiny random model.
        load_in_4bit: Quantise it.
        device: Where it is computed; bfloat16 on a GPU, float32 elsewhere.
    """
    who = Local(base_model, None, "float32" if device == "cpu" else "bfloat16", load_in_4bit, device)
    name = Path(base_model).name if Path(base_model).is_dir() else base_model
    return Contestant(name, who, {"base": digest, "setup": setup, "adapter": None, **_held(who)}, _versions(), toy)


def _held(who: Local) -> dict[str, Any]:
    return {"dtype": who.dtype, "load_in_4bit": who.load_in_4bit, "device": who.device}


def _versions() -> dict[str, str]:
    from tasks.models.families.chat import Chat

    return {"prompts": Chat.name, "torch": version("torch"), "transformers": version("transformers")}
