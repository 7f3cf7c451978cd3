"""Neural models on this machine: Marian (opus-mt), NLLB and MADLAD, best on a GPU.

One request's way, with the sizes of a GPU worker::

    1,900 sentences -> token ids -> sorted by length -> batches of at most 8,192 padded tokens
                    -> generated, longest first -> text -> back in the order of the request

The three families say in different ways what to translate into: a Marian model knows one pair, NLLB wants
``eng_Latn`` before the source and ``spa_Latn`` as the first token of the answer, MADLAD reads ``<2es> ``
before the text. Check the licence of the weights: NLLB's are not for commercial use.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, Field

from tasks.remote.errors import TooLarge
from tasks.storage.errors import PermanentError
from tasks.translators.protocol import Limits, Translator

# NLLB names a language and its script, as FLORES-200 does.
FLORES = dict(
    pair.split("=")
    for pair in """
    af=afr_Latn ar=arb_Arab bg=bul_Cyrl bn=ben_Beng ca=cat_Latn cs=ces_Latn cy=cym_Latn da=dan_Latn
    de=deu_Latn el=ell_Grek en=eng_Latn eo=epo_Latn es=spa_Latn et=est_Latn eu=eus_Latn fa=pes_Arab
    fi=fin_Latn fr=fra_Latn gl=glg_Latn he=heb_Hebr hi=hin_Deva hr=hrv_Latn hu=hun_Latn id=ind_Latn
    is=isl_Latn it=ita_Latn ja=jpn_Jpan ko=kor_Hang lt=lit_Latn lv=lvs_Latn nl=nld_Latn no=nob_Latn
    pl=pol_Latn pt=por_Latn ro=ron_Latn ru=rus_Cyrl sk=slk_Latn sl=slv_Latn sr=srp_Cyrl sv=swe_Latn
    sw=swh_Latn ta=tam_Taml th=tha_Thai tr=tur_Latn uk=ukr_Cyrl ur=urd_Arab vi=vie_Latn zh=zho_Hans
    """.split()
)

FILES = {".json", ".safetensors", ".bin", ".spm", ".model", ".txt"}

Result = TypeVar("Result")


class Options(BaseModel):
    """Which model, and how it runs."""

    model: str | None = Field(None, description="Folder of the model, or its id on huggingface.co.")
    revision: str | None = Field(None, description="Commit or tag of a model on huggingface.co.")
    tokenizer: str | None = Field(None, description="Folder of the tokenizer where the model's has none.")
    engine: Literal["transformers", "ctranslate2"] = Field("transformers", description="What runs the model.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on a GPU and float32 elsewhere; with ctranslate2 as converted."
    )
    max_batch_tokens: int = Field(8_192, ge=1, description="Tokens of one batch, padding included.")
    beams: int = Field(1, ge=1, description="Width of the search; 1 is the fastest.")


@dataclass(frozen=True, slots=True)
class Family:
    """How a model is told the two languages.

    Args:
        prefix: What stands before each text.
        source: The tokenizer's name for the source language, or None.
        target: The token that each answer begins with, or None.
    """

    prefix: str = ""
    source: str | None = None
    target: str | None = None


class Engine(Protocol):
    """Ids of source tokens in, ids of translated tokens out."""

    def generate(self, batch: list[list[int]], max_new_tokens: int) -> list[list[int]]: ...


class Transformers:
    """A model as it was published, run by PyTorch."""

    def __init__(self, folder: Path, family: Family, tokenizer: Any, options: Options) -> None:
        self._torch, transformers = package("torch"), package("transformers")
        gpu = self._torch.cuda.is_available() and options.device != "cpu"
        if options.device == "cuda" and not gpu:
            raise PermanentError("There is no CUDA device. Set TRASVASE_NEURAL_DEVICE to cpu or auto.")
        self._device = "cuda" if gpu else "cpu"
        name = options.dtype if options.dtype != "auto" else "bfloat16" if gpu else "float32"
        model, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(
            folder, dtype=getattr(self._torch, name), local_files_only=True, output_loading_info=True
        )
        if missing := sorted(report["missing_keys"]):
            # transformers would fill them with random numbers and only warn.
            raise PermanentError(f"The model in {folder} lacks {len(missing)} of its weights: {missing[:3]}.")
        self._model = model.to(self._device).eval()
        self._pad = tokenizer.pad_token_id
        self._how = {"num_beams": options.beams, "do_sample": False}
        if family.target:
            self._how["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(family.target)

    def generate(self, batch: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        torch, longest = self._torch, max(map(len, batch))
        padded = [ids + [self._pad] * (longest - len(ids)) for ids in batch]
        mask = [[1] * len(ids) + [0] * (longest - len(ids)) for ids in batch]
        with torch.inference_mode():
            answers = self._model.generate(
                input_ids=torch.tensor(padded, device=self._device),
                attention_mask=torch.tensor(mask, device=self._device),
                max_new_tokens=max_new_tokens,
                **self._how,
            )
        return [ids[1:] for ids in answers.tolist()]  # without the token that starts the decoder


class CTranslate2:
    """A model converted with ``ct2-transformers-converter``, as a rule faster than PyTorch."""

    def __init__(self, folder: Path, family: Family, tokenizer: Any, options: Options) -> None:
        kind = "default" if options.dtype == "auto" else options.dtype
        self._model = package("ctranslate2").Translator(str(folder), device=options.device, compute_type=kind)
        self._tokenizer, self._target, self._beams = tokenizer, family.target, options.beams

    def generate(self, batch: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        results = self._model.translate_batch(
            [self._tokenizer.convert_ids_to_tokens(ids) for ids in batch],
            target_prefix=[[self._target]] * len(batch) if self._target else None,
            beam_size=self._beams,
            max_input_length=0,  # its default cuts a source off after 1,024 tokens, without a word
            max_decoding_length=max_new_tokens,
        )
        return [self._tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]


ENGINES: dict[str, Callable[[Path, Family, Any, Options], Engine]] = {
    "transformers": Transformers,
    "ctranslate2": CTranslate2,
}


class NeuralTranslator:
    """One thread for words and one for the model: the next request is cut up while this one is computed."""

    limits = Limits(max_chars=200_000, max_items=2_048, max_bytes=10_000_000, at_once=2)

    def __init__(self, name: str, folder: Path, words: Path, family: Family, options: Options) -> None:
        self.name = name
        self._folder, self._words_folder, self._family, self._options = folder, words, family, options
        self._words = ThreadPoolExecutor(1, thread_name_prefix="neural-words")
        self._model = ThreadPoolExecutor(1, thread_name_prefix="neural-model")
        self._tokenizer: Any = None
        self._engine: Engine | None = None
        self._most = 0

    async def translate(self, texts: Sequence[str]) -> list[str]:
        """Translate one request's texts.

        Raises:
            TooLarge: A text has more tokens than the model can read.
            PermanentError: The model cannot be loaded, or does not fit into the memory.
        """
        if not texts:
            return []
        loop = asyncio.get_running_loop()
        tokens = await loop.run_in_executor(self._words, self._encode, texts)
        answers = await loop.run_in_executor(self._model, self._generate, tokens)
        return await loop.run_in_executor(self._words, self._decode, answers)

    async def aclose(self) -> None:
        for thread in (self._words, self._model):
            thread.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._model.shutdown)
        self._engine = None

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if self._tokenizer is None:
            self._tokenizer = self._open_tokenizer()
        tokens = [self._tokenizer(self._family.prefix + text)["input_ids"] for text in texts]
        longest = max(map(len, tokens))
        if longest > self._most:
            raise TooLarge(f"A text of {longest} tokens; {self.name} reads at most {self._most}.")
        return tokens

    def _open_tokenizer(self) -> Any:
        auto = package("transformers").AutoTokenizer
        tokenizer = loaded(self._words_folder, lambda: auto.from_pretrained(self._words_folder, local_files_only=True))
        for token in (self._family.prefix.strip(), self._family.target):
            if token and tokenizer.convert_tokens_to_ids(token) in (None, tokenizer.unk_token_id):
                raise PermanentError(f"{self.name} knows no token {token!r}, so not this language.")
        if self._family.source:
            tokenizer.src_lang = self._family.source
        # T5 has no such number; 4,096 tokens are far beyond what it was trained on.
        positions = read_json(self._folder / "config.json").get("max_position_embeddings", 4_096)
        self._most = min(tokenizer.model_max_length, positions)
        return tokenizer

    def _generate(self, tokens: list[list[int]]) -> list[list[int]]:
        if self._engine is None:
            self._engine = self._open_engine()
        answers: list[list[int]] = [[]] * len(tokens)
        for batch in batches([len(ids) for ids in tokens], self._options.max_batch_tokens):
            try:
                generated = self._engine.generate([tokens[at] for at in batch], self._room(tokens[batch[0]]))
            except RuntimeError as error:
                raise PermanentError(
                    f"{self.name} failed on {len(batch)} texts: {error}. If the memory was too small, lower "
                    f"TRASVASE_NEURAL_MAX_BATCH_TOKENS ({self._options.max_batch_tokens})."
                ) from error
            for at, ids in zip(batch, generated, strict=True):
                # A longer neighbour must not give a text more room than it has alone.
                answers[at] = ids[: self._room(tokens[at])]
        return answers

    def _open_engine(self) -> Engine:
        engine = ENGINES[self._options.engine]
        return loaded(self._folder, lambda: engine(self._folder, self._family, self._tokenizer, self._options))

    def _room(self, ids: list[int]) -> int:
        """How many tokens an answer may have: a model that repeats itself has to stop."""
        return min(int(1.6 * len(ids)) + 16, self._most - 1)

    def _decode(self, answers: list[list[int]]) -> list[str]:
        return [text.strip() for text in self._tokenizer.batch_decode(answers, skip_special_tokens=True)]


def batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Positions in batches of like length, longest first, of at most ``most`` tokens with the padding."""
    batch: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch


def open_translator(options: Options, source: str, target: str) -> Translator:
    """Find the model and name it by its content; it is loaded at the first request.

    Raises:
        PermanentError: No model is set, it is not there, or it does not know the languages.
    """
    if not options.model:
        raise PermanentError(
            "The neural translator has no model. Set TRASVASE_NEURAL_MODEL to a folder, or to an id on "
            "huggingface.co such as Helsinki-NLP/opus-mt-en-es."
        )
    folder = find_folder(options.model, options.revision)
    words = find_folder(options.tokenizer, None) if options.tokenizer else folder
    family = find_family(words, source, target)
    beams = f"-beam{options.beams}" if options.beams > 1 else ""
    name = f"neural/{Path(options.model).name}@{digest(folder, words)}-{options.engine}{beams}"
    return NeuralTranslator(name, folder, words, family, options)


def find_folder(model: str, revision: str | None) -> Path:
    """The model's folder; one of huggingface.co is fetched unless it has been before."""
    if (folder := Path(model).expanduser()).is_dir():
        return folder
    if folder.is_absolute() or model.startswith((".", "~")):
        raise PermanentError(f"There is no folder {model}: set TRASVASE_NEURAL_MODEL to the model's folder.")
    fetch = package("huggingface_hub").snapshot_download
    try:
        return Path(fetch(model, revision=revision, allow_patterns=[f"*{suffix}" for suffix in sorted(FILES)]))
    except (OSError, ValueError) as error:
        raise PermanentError(
            f"{model} is no folder, and huggingface.co does not give it: {type(error).__name__}. Fetch it "
            "where there is a network (hf download), and set TRASVASE_NEURAL_MODEL to its folder."
        ) from error


def find_family(folder: Path, source: str, target: str) -> Family:
    """Tell from the files beside the model how it is told the languages."""
    words = read_json(folder / "tokenizer_config.json")
    kind = f"{read_json(folder / 'config.json').get('model_type')} {words.get('tokenizer_class')}".lower()
    if "marian" in kind:
        for asked, key in [(source, "source_lang"), (target, "target_lang")]:
            if words.get(key) not in (None, asked, FLORES.get(asked, "")[:3]):
                raise PermanentError(f"The model in {folder} has {key} {words[key]}, and {asked} was asked for.")
        return Family()
    if "nllb" in kind:
        if unknown := [code for code in (source, target) if code not in FLORES]:
            raise PermanentError(f"The table of NLLB's languages lacks {', '.join(unknown)} (FLORES in neural.py).")
        return Family(source=FLORES[source], target=FLORES[target])
    if "m2m" in kind:
        return Family(source=source, target=f"__{target}__")
    if "t5" in kind:
        return Family(prefix=f"<2{target}> ")
    raise PermanentError(
        f"The model in {folder} is neither Marian, NLLB nor MADLAD: {kind!r}. After a conversion for "
        "ctranslate2, set TRASVASE_NEURAL_TOKENIZER to the folder of the model that was converted."
    )


def digest(*folders: Path) -> str:
    """Name weights, configuration and vocabulary by their content, of large files by 64 pieces of 64 KiB."""
    state = hashlib.sha256()
    for path in sorted(path for folder in dict.fromkeys(folders) for path in folder.iterdir()):
        if path.suffix in FILES and path.is_file():
            size = path.stat().st_size
            state.update(f"{path.name} {size}\n".encode())
            with path.open("rb") as file:
                for start in range(0, size, max(size // 64, 65_536)):
                    file.seek(start)
                    state.update(file.read(65_536))
    return state.hexdigest()[:8]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of the model, or nothing where the model has no such file."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise PermanentError(f"{path} is not JSON: {error}") from error
    return found


def loaded(folder: Path, load: Callable[[], Result]) -> Result:
    """What ``load`` makes of the folder."""
    try:
        return load()
    except (OSError, ValueError, RuntimeError, KeyError, package("safetensors").SafetensorError) as error:
        raise PermanentError(f"The model in {folder} cannot be loaded: {error}") from error


def package(name: str) -> Any:
    """A heavy package, imported when it is needed."""
    try:
        if name == "transformers":
            importlib.import_module("tasks.models.torchvision").let_torchvision_load()
        return importlib.import_module(name)
    except ImportError as error:
        raise PermanentError(f"The neural translator needs {name} ({error}): pip install 'trasvase[neural]'") from error
