"""A model, ready to be asked or trained: ``load(ModelOptions("google/paligemma2-3b-pt-224"), prompt)``.

Only safetensors are read, and no code that lies beside them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from tasks.models.adapter import PICKLES, WEIGHTS, AdapterRecord, BadAdapter, read_adapter
from tasks.models.device import Device
from tasks.models.families import KNOWN, family_name, make_family, sees
from tasks.models.families.chat import Chat
from tasks.models.families.protocol import Family
from tasks.models.prompts import CONVERSATION, Prompt
from tasks.models.torchvision import let_torchvision_load
from tasks.storage.errors import PermanentError, TransientError
from tasks.storage.files import sha256

Dtype = Literal["bfloat16", "float32", "float16"]

# What is fetched from the hub: no pickles, and no second copy of the weights in another layout.
_READ = ["*.json", "*.model", "*.txt", "*.jinja"]
_FETCHED = ["*.safetensors", *_READ]
_NOT_FETCHED = ["consolidated*", "original/*", "onnx/*"]


class NoGpu(PermanentError):
    """A GPU was asked for on a machine that has none."""


class BadModel(PermanentError):
    """A model that is not there, or that is not taken."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model, and how it is held.

    Args:
        base_model: A folder, or a name on the hub.
        adapter: A folder that ``finetune-lora`` left; its own image budget holds.
        dtype: What is computed in.
        load_in_4bit: Quantise the base to nf4; slower, and a quarter of the memory.
        device: Where it is computed.
        min_pixels: The least and
        max_pixels: the most pixels of an image; None leaves the processor's own.
        base_digest: The weights that the base must have, as ``Base.digest``; None takes any.
    """

    base_model: str
    adapter: Path | None = None
    dtype: Dtype = "bfloat16"
    load_in_4bit: bool = False
    device: Device = "cuda"
    min_pixels: int | None = None
    max_pixels: int | None = None
    base_digest: str | None = None


class Loaded(NamedTuple):
    """A model in evaluation mode, its family, digests of the base as in ``Base``, and what came with it."""

    model: Any
    family: Family
    digest: str
    setup: str
    record: AdapterRecord | None
    toy: bool


class Base(NamedTuple):
    """Where a model lies, SHA-256 over its weights, and over what else is read: configuration, tokenizer, chat template."""

    folder: Path
    digest: str
    setup: str


def check_device(device: Device) -> None:
    """Refuse a GPU that is not there.

    Raises:
        NoGpu: ``device`` is cuda and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise NoGpu("This worker has no GPU that torch sees. Start the run on the gpu pool, or set device=cpu.")


def find_base(base_model: str) -> Base:
    """Find a model, or fetch it from the hub, without loading it.

    Raises:
        BadModel: It is neither a folder nor on the hub, or its weights are pickles.
        TransientError: The hub does not answer.
    """
    folder = _fetch(base_model)
    return Base(folder, _digest(folder), _setup(folder))


def load(options: ModelOptions, prompt: Prompt) -> Loaded:
    """Load a base model and, where one is named, the adapter on it.

    Raises:
        NoGpu: ``device`` is cuda and there is none.
        BadModel: The base is neither a folder nor on the hub, of no family we know, or its weights are pickles or others.
        BadAdapter: The adapter is damaged, or belongs to another base, prompt or image budget.
        TransientError: The hub does not answer.
    """
    check_device(options.device)
    from transformers.utils.logging import disable_progress_bar

    let_torchvision_load()
    disable_progress_bar()  # type: ignore[no-untyped-call]
    record = read_adapter(options.adapter) if options.adapter else None
    base, digest, setup = find_base(options.base_model)
    if record:
        _check_fit(record, options, prompt, digest)
    if options.base_digest not in (None, digest):
        raise BadModel(
            f"{options.base_model} has other weights ({digest[:12]}) than those that are asked for "
            f"({options.base_digest[:12]}). Put those back, or train anew."
        )
    config = _config(base)
    speaker = _processor(options.adapter or base, config.model_type)
    budget = record or options
    family = make_family(config.model_type, speaker, prompt, budget.min_pixels, budget.max_pixels)
    if record and record.family != family.name:
        raise BadAdapter(
            f"{options.adapter} was trained as {record.family}, and prompts are laid out as {family.name} now. Train anew."
        )
    model = _model(base, config, options)
    if options.adapter:
        model = _adapted(model, options.adapter)
    return Loaded(model.eval(), family, digest, setup, record, bool(getattr(config, "trasvase_toy", False)))


class LoadedChat(NamedTuple):
    """As ``Loaded``, of a model that writes the next turn of a conversation."""

    model: Any
    family: Chat
    digest: str
    record: AdapterRecord | None
    toy: bool


def load_chat(options: ModelOptions) -> LoadedChat:
    """Load a chat model and, where one is named, the adapter on it that was trained to write.

    Raises:
        BadModel: It takes images, or as ``load``.
        BadAdapter: It was trained to give labels, or as ``load``.
        NoGpu: ``device`` is cuda and there is none.
        TransientError: The hub does not answer.
    """
    record = read_adapter(options.adapter) if options.adapter else None
    if record and record.label_sets is not None:
        raise BadAdapter(
            f"{options.adapter} was trained to give labels, not to write. evaluate-adapter measures it; name one that "
            "finetune-lora has trained on messages."
        )
    loaded = load(options, record.prompt if record else CONVERSATION)
    if not isinstance(loaded.family, Chat):
        raise _takes_images(options.base_model)
    return LoadedChat(loaded.model, loaded.family, loaded.digest, loaded.record, loaded.toy)


class Speaker(NamedTuple):
    """How a chat model is asked, and how many tokens it takes, without its weights."""

    family: Chat
    window: int


def find_speaker(base_model: str) -> Speaker:
    """The tokenizer and chat template of a chat model that ``find`` has found.

    Raises:
        BadModel: It takes images, or as ``load``.
        TransientError: The hub does not answer.
    """
    family, text = find_family(base_model, CONVERSATION, None, None)
    if not isinstance(family, Chat):
        raise _takes_images(base_model)
    return Speaker(family, text.max_position_embeddings)


def find_family(base_model: str, prompt: Prompt, min_pixels: int | None, max_pixels: int | None) -> tuple[Family, Any]:
    """The family of a model that ``find`` has found, and the configuration of its text tower, without its weights.

    Raises:
        BadModel: As ``load``.
        TransientError: The hub does not answer.
    """
    let_torchvision_load()
    base = _fetch(base_model)
    config = _config(base)
    processor = _processor(base, config.model_type)
    return make_family(config.model_type, processor, prompt, min_pixels, max_pixels), config.get_text_config()


def _takes_images(base_model: str) -> BadModel:
    return BadModel(f"{base_model} takes images, and conversations here are text alone. Name a chat model.")


class Found(NamedTuple):
    """A base model before it is loaded: as ``Base``, whether it is a toy, whether it takes images, family."""

    digest: str
    setup: str
    toy: bool
    sees: bool
    family: str


def find(base_model: str) -> Found:
    """Find a base model without loading it; what is not here yet is fetched.

    Raises:
        BadModel: It is neither a folder nor on the hub, of no family we know, or its weights are pickles.
        TransientError: The hub does not answer.
    """
    let_torchvision_load()
    base = _fetch(base_model)
    config = _config(base)
    toy, kind = bool(getattr(config, "trasvase_toy", False)), config.model_type
    return Found(_digest(base), _setup(base), toy, sees(kind), family_name(kind))


def _fetch(base_model: str) -> Path:
    """The folder of a model, fetched from the hub where it is none."""
    if Path(base_model).is_dir():
        return Path(base_model)
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(base_model, allow_patterns=_FETCHED, ignore_patterns=_NOT_FETCHED))
    except GatedRepoError as error:
        raise BadModel(
            f"{base_model} is given to those alone who accept its licence. Accept it on the hub, and set HF_TOKEN."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise BadModel(f"{base_model} is neither a folder here nor a model on the hub. Correct base_model.") from error
    except LocalEntryNotFoundError as error:
        if constants.HF_HUB_OFFLINE:
            raise BadModel(
                f"{base_model} is neither a folder here nor in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it. "
                "Unset it, or name a folder."
            ) from error
        raise TransientError(f"{base_model} is no folder here, and the hub cannot be reached.") from error
    except HfHubHTTPError as error:
        raise TransientError(f"The hub does not give {base_model}: {error}") from error


def _digest(base: Path) -> str:
    """SHA-256 over the digests of the weights' files: the same model in another folder is the same."""
    # Mistral's repositories have the weights twice, and a cache may have got the others from another program.
    weights = sorted(path for path in base.glob("*.safetensors") if not path.name.startswith("consolidated"))
    if not weights:
        pickles = sorted(path.name for path in base.iterdir() if path.suffix in PICKLES)
        kind = f"only as {pickles[0]}, which may run code when it is read" if pickles else "not at all"
        raise BadModel(f"{base} has its weights {kind}. Take a version with safetensors.")
    return hashlib.sha256("".join(sha256(path) for path in weights).encode()).hexdigest()


def _setup(base: Path) -> str:
    """SHA-256 over what is read beside the weights. An adapter brings its own, so it fits a base that was given another."""
    found = sorted(path for ending in _READ for path in base.glob(ending) if not path.name.endswith(".index.json"))
    return hashlib.sha256(json.dumps([[path.name, sha256(path)] for path in found]).encode()).hexdigest()


def _check_fit(record: AdapterRecord, options: ModelOptions, prompt: Prompt, digest: str) -> None:
    at = options.adapter
    if record.base_digest != digest:
        raise BadAdapter(
            f"{at} was trained on {record.base_model} with other weights ({record.base_digest[:12]}) than those of "
            f"{options.base_model} ({digest[:12]}). Name its own base model."
        )
    if record.prompt != prompt:
        raise BadAdapter(
            f"{at} was trained with the prompt {record.prompt.key}, not {prompt.key}. Take the prompt of its record."
        )
    for name in ("min_pixels", "max_pixels"):
        asked, trained = getattr(options, name), getattr(record, name)
        if asked not in (None, trained):
            raise BadAdapter(f"{at} was trained with {name}={trained}, not {asked}. Leave {name} empty.")


def _config(base: Path) -> Any:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise BadModel(f"{base / 'config.json'} is not taken: {error}") from error
    kind = config.model_type
    if not sees(kind) and (
        kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    ):
        raise BadModel(f"{base} is a {kind!r}, which is none of the families here: {', '.join(KNOWN)}.")
    return config


def _processor(folder: Path, model_type: str) -> Any:
    from transformers import AutoProcessor, AutoTokenizer

    kind = AutoProcessor if sees(model_type) else AutoTokenizer
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise BadModel(f"{folder} has no processor that fits a {model_type!r}: {error}") from error


def _model(base: Path, config: Any, options: ModelOptions) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, BitsAndBytesConfig

    dtype = getattr(torch, options.dtype)
    nf4 = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    kind: Any = AutoModelForImageTextToText if sees(config.model_type) else AutoModelForCausalLM
    model, found = kind.from_pretrained(
        base,
        config=config,
        dtype=dtype,
        attn_implementation=_attention(config),
        device_map={"": options.device},
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        **({"quantization_config": nf4} if options.load_in_4bit else {}),
    )
    # Where weights are missing transformers warns, fills in random numbers, and the model answers all the same.
    if lost := sorted(map(str, (*found["missing_keys"], *found["mismatched_keys"]))):
        raise BadModel(
            f"{base} lacks {len(lost)} weights of a {config.model_type!r}, such as {lost[0]}. Fetch it anew."
        )
    return model


def _attention(config: Any) -> str | dict[str, str] | None:
    """Eager where attention's logits are capped, as in Gemma 2: others leave the cap out or refuse; else the default."""
    text = config.get_text_config()
    if not getattr(text, "attn_logit_softcapping", None):
        return None
    return "eager" if text is config else {"text_config": "eager", "vision_config": "sdpa"}


def _adapted(model: Any, folder: Path) -> Any:
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    adapted = PeftModel.from_pretrained(model, str(folder))
    with safe_open(folder / WEIGHTS, "pt") as file:
        saved = set(file.keys())
    # PEFT only warns of weights that find no place, and the model answers as if it had not been trained.
    if lost := saved ^ set(get_peft_model_state_dict(adapted)):
        raise BadAdapter(
            f"{folder}: {len(lost)} of its {len(saved)} weights do not fit this model, such as {min(lost)}. "
            "Install the version of transformers that its record names."
        )
    return adapted
