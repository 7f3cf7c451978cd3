"""Real classes of transformers and ctranslate2, but tiny and with RANDOM weights.

What is checked is the way of texts and tokens: shapes, batches, order, languages. Nothing here says a word
about the quality of a translation.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.remote.errors import TooLarge
from tasks.storage.errors import PermanentError
from tasks.translators.neural import (
    Family,
    NeuralTranslator,
    Options,
    batches,
    find_family,
    open_translator,
    package,
)

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "llava_sample.json"
TINY = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "init_std": 0.6,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "max_position_embeddings": 256,
}  # fmt: skip


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Twenty-four sentences of the sample, from two words to a paragraph."""
    rows = json.loads(SAMPLE.read_text(encoding="utf-8"))
    values = [turn["value"].replace("<image>", "").strip() for row in rows[:15] for turn in row["conversations"]]
    return list(dict.fromkeys(line for value in values for line in value.splitlines() if 0 < len(line) < 250))[:40]


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    rows = json.loads(SAMPLE.read_text(encoding="utf-8"))
    return [turn["value"] for row in rows[:400] for turn in row["conversations"]]


@pytest.fixture(scope="module", autouse=True)
def _offline_and_one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TOKENIZERS_PARALLELISM", "false")
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)
        yield


def _save(folder: Path, model: Any, tokenizer: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory, corpus: list[str]) -> Path:
    torch, transformers = pytest.importorskip("torch"), package("transformers")
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("sacremoses")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-marian")
    spm = str(folder / "spm.model")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_prefix=spm[:-6], vocab_size=300, minloglevel=2,
        pad_id=-1, bos_id=-1, eos_id=0, unk_id=1,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=spm)
    words = {pieces.id_to_piece(n): n for n in range(len(pieces))} | {"<pad>": len(pieces)}
    (folder / "words.json").write_text(json.dumps(words), encoding="utf-8")
    tokenizer = transformers.MarianTokenizer(spm, spm, str(folder / "words.json"), source_lang="en", target_lang="es")
    pad = words["<pad>"]
    config = transformers.MarianConfig(
        **TINY, vocab_size=len(words), pad_token_id=pad, decoder_start_token_id=pad, eos_token_id=0,
        bos_token_id=None, forced_eos_token_id=None,
    )  # fmt: skip
    return _save(folder / "opus-mt-en-es", transformers.MarianMTModel(config), tokenizer)


@pytest.fixture(scope="module")
def nllb(tmp_path_factory: pytest.TempPathFactory, corpus: list[str]) -> Path:
    torch, transformers = pytest.importorskip("torch"), package("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    torch.manual_seed(1)
    pieces = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    pieces.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False
    )
    pieces.train_from_iterator(corpus, trainer)
    learnt = json.loads(pieces.to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    tokenizer = transformers.NllbTokenizer(vocab=learnt["vocab"], merges=merges)
    config = transformers.M2M100Config(
        **TINY,
        vocab_size=len(tokenizer),
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    model = transformers.M2M100ForConditionalGeneration(config)
    return _save(tmp_path_factory.mktemp("tiny-nllb") / "nllb-200", model, tokenizer)


@pytest.fixture(scope="module")
def madlad(tmp_path_factory: pytest.TempPathFactory, corpus: list[str]) -> Path:
    torch, transformers = pytest.importorskip("torch"), package("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    torch.manual_seed(2)
    pieces = tokenizers.Tokenizer(tokenizers.models.Unigram())
    pieces.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>", "<2es>", "<2fr>"]
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    pieces.train_from_iterator(corpus, trainer)
    learnt = [tuple(pair) for pair in json.loads(pieces.to_str())["model"]["vocab"]]
    tokenizer = transformers.T5Tokenizer(vocab=learnt, extra_ids=0)
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2,
        initializer_factor=5.0, pad_token_id=0, decoder_start_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config)
    return _save(tmp_path_factory.mktemp("tiny-madlad") / "madlad400", model, tokenizer)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Convert a model for ctranslate2, once, with the tokenizer beside it."""
    made: dict[Path, Path] = {}

    def convert(folder: Path) -> Path:
        converters = pytest.importorskip("ctranslate2.converters")
        if folder not in made:
            made[folder] = tmp_path_factory.mktemp("ct2") / folder.name
            beside = {"config.json", "generation_config.json", "model.safetensors"}
            files = [path.name for path in folder.iterdir() if path.name not in beside]
            converters.TransformersConverter(str(folder), copy_files=files).convert(str(made[folder]))
        return made[folder]

    return convert


@pytest.fixture(params=["marian", "nllb", "madlad"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["transformers", "ctranslate2"])
def options(request: pytest.FixtureRequest, folder: Path, converted: Callable[[Path], Path]) -> dict[str, Any]:
    model = folder if request.param == "transformers" else converted(folder)
    return {"model": str(model), "engine": request.param, "device": "cpu"}


def _open(target: str = "es", **options: object) -> NeuralTranslator:
    translator = open_translator(Options.model_validate(options), "en", target)
    assert isinstance(translator, NeuralTranslator)
    return translator


def _ask(*requests: list[str], target: str = "es", **options: object) -> list[list[str]]:
    async def ask() -> list[list[str]]:
        translator = _open(target, **options)
        try:
            return await asyncio.gather(*map(translator.translate, requests))
        finally:
            await translator.aclose()

    return asyncio.run(ask())


def test_an_answer_depends_neither_on_neighbours_nor_on_order(options: dict[str, Any], texts: list[str]) -> None:
    [together, backwards, *alone] = _ask(texts, texts[::-1], *([text] for text in texts), **options)
    assert together == backwards[::-1] == [answer for [answer] in alone]
    assert len(set(together)) > len(texts) / 2, "the answers say nothing about the texts"


def test_small_batches_give_the_same_answers(options: dict[str, Any], texts: list[str]) -> None:
    [large], [small] = (_ask(texts, **options, max_batch_tokens=most) for most in (8_192, 100))
    assert large == small


def test_an_answer_stops_in_time(options: dict[str, Any], texts: list[str]) -> None:
    translator = _open(**options)
    tokens = translator._encode(texts)
    answers = translator._generate(tokens)
    asyncio.run(translator.aclose())
    assert all(len(answer) <= int(1.6 * len(ids)) + 16 for ids, answer in zip(tokens, answers, strict=True))


def test_both_engines_agree(folder: Path, converted: Callable[[Path], Path], texts: list[str]) -> None:
    [torch] = _ask(texts, model=str(folder), device="cpu")
    [ctranslate2] = _ask(texts, model=str(converted(folder)), engine="ctranslate2", device="cpu")
    same = [one == other for one, other in zip(torch, ctranslate2, strict=True)]
    assert sum(same) >= 0.9 * len(texts), "random weights leave some ties to rounding"


def test_two_requests_at_once_do_not_mix(options: dict[str, Any], texts: list[str]) -> None:
    [first, second] = _ask(texts[:9], texts[9:], **options)
    [both] = _ask(texts, **options)
    assert both == first + second


def test_nothing_gives_nothing(options: dict[str, Any]) -> None:
    assert [[]] == _ask([], **options)


def test_a_wider_search_works_and_has_its_own_name(options: dict[str, Any], texts: list[str]) -> None:
    [answers] = _ask(texts[:5], **options, beams=3)
    assert len(answers) == 5
    assert _open(**options).name + "-beam3" == _open(**options, beams=3).name


@pytest.mark.parametrize("name", ["nllb", "madlad"])
def test_the_target_language_reaches_the_model(
    request: pytest.FixtureRequest, name: str, converted: Callable[[Path], Path], texts: list[str]
) -> None:
    folder = request.getfixturevalue(name)
    for options in ({"model": str(folder)}, {"model": str(converted(folder)), "engine": "ctranslate2"}):
        spanish, french = (_ask(texts, target=target, device="cpu", **options) for target in ("es", "fr"))
        assert spanish != french


def test_nllb_gets_the_source_language_first_and_answers_begin_with_the_target(nllb: Path) -> None:
    translator = _open(model=str(nllb), device="cpu")
    tokens = translator._encode(["The bus is red."])
    answers = translator._generate(tokens)
    first = [translator._tokenizer.convert_ids_to_tokens(ids[0]) for ids in (tokens[0], answers[0])]
    assert ["eng_Latn", "spa_Latn"] == first
    asyncio.run(translator.aclose())


def test_madlad_reads_the_target_language_as_one_token(madlad: Path) -> None:
    translator = _open(model=str(madlad), device="cpu")
    [ids] = translator._encode(["The bus is red."])
    assert "<2es>" in translator._tokenizer.convert_ids_to_tokens(ids)
    asyncio.run(translator.aclose())


def test_a_language_that_the_vocabulary_lacks_is_refused(madlad: Path) -> None:
    with pytest.raises(PermanentError, match="no token '<2qu>'"):
        _ask(["The bus is red."], target="qu", model=str(madlad), device="cpu")


@pytest.mark.parametrize("name", ["marian", "nllb"])
def test_a_text_with_more_tokens_than_the_model_reads_is_too_large(request: pytest.FixtureRequest, name: str) -> None:
    options = {"model": str(request.getfixturevalue(name)), "device": "cpu"}
    with pytest.raises(TooLarge, match="reads at most 256"):
        _ask(["A bus.", "red bus " * 200], **options)


def test_half_precision_runs(marian: Path) -> None:
    [answers] = _ask(["The bus is red.", "A cat."], model=str(marian), device="cpu", dtype="bfloat16")
    assert len(answers) == 2


def test_closing_ends_the_threads(marian: Path) -> None:
    _ask(["A bus."], model=str(marian), device="cpu")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("neural")]


def test_weights_that_cannot_be_read_are_named(marian: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(marian, broken)
    (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(PermanentError, match=r"broken cannot be loaded"):
        _ask(["A bus."], model=str(broken), device="cpu")


def test_a_missing_weight_is_not_made_up(marian: Path, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    incomplete = tmp_path / "incomplete"
    shutil.copytree(marian, incomplete)
    weights = safetensors.load_file(incomplete / "model.safetensors")
    del weights["model.decoder.layers.0.fc1.weight"]
    safetensors.save_file(weights, incomplete / "model.safetensors", {"format": "pt"})
    with pytest.raises(PermanentError, match=r"lacks 1 of its weights.*fc1"):
        _ask(["A bus."], model=str(incomplete), device="cpu")


def test_a_missing_gpu_is_said_at_once(marian: Path) -> None:
    if pytest.importorskip("torch").cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(PermanentError, match=r"no CUDA device.*TRASVASE_NEURAL_DEVICE"):
        _ask(["A bus."], model=str(marian), device="cuda")


def test_without_a_model_the_message_names_the_variable() -> None:
    with pytest.raises(PermanentError, match="Set TRASVASE_NEURAL_MODEL"):
        _open()


def test_a_folder_that_is_not_there_is_not_looked_up_in_the_network(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="no folder"):
        _open(model=str(tmp_path / "missing"))


def test_a_model_that_cannot_be_fetched_says_what_to_do() -> None:
    pytest.importorskip("huggingface_hub")
    with pytest.raises(PermanentError, match="Fetch it where there is a network"):
        _open(model="trasvase-tests/no-such-model")


@pytest.fixture
def described(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder with nothing but the description of a model."""

    def describe(config: dict[str, str], words: dict[str, str]) -> Path:
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(words), encoding="utf-8")
        return tmp_path

    return describe


def test_the_packages_are_asked_for_by_name(described: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model = described({"model_type": "marian"}, {})
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(PermanentError, match=r"needs transformers.*pip install 'trasvase\[neural\]'"):
        _ask(["A bus."], model=str(model))


@pytest.mark.parametrize(
    ("config", "words", "family"),
    [
        ({"model_type": "marian"}, {}, Family()),
        ({}, {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "es"}, Family()),
        ({}, {"tokenizer_class": "MarianTokenizer", "source_lang": "eng", "target_lang": "spa"}, Family()),
        (
            {"model_type": "m2m_100"},
            {"tokenizer_class": "NllbTokenizer"},
            Family(source="eng_Latn", target="spa_Latn"),
        ),
        ({"model_type": "m2m_100"}, {}, Family(source="en", target="__es__")),
        ({"model_type": "t5"}, {}, Family(prefix="<2es> ")),
    ],
)
def test_the_family_is_told_from_the_files(
    described: Callable[..., Path], config: dict[str, str], words: dict[str, str], family: Family
) -> None:
    assert family == find_family(described(config, words), "en", "es")


@pytest.mark.parametrize(
    ("config", "words", "message"),
    [
        ({"model_type": "llama"}, {}, "neither Marian, NLLB nor MADLAD.*TRASVASE_NEURAL_TOKENIZER"),
        ({}, {}, "neither Marian"),
        (
            {"model_type": "marian"},
            {"source_lang": "en", "target_lang": "de"},
            "target_lang de, and qu was asked",
        ),
        ({"model_type": "m2m_100"}, {"tokenizer_class": "NllbTokenizer"}, "lacks qu"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    described: Callable[..., Path], config: dict[str, str], words: dict[str, str], message: str
) -> None:
    with pytest.raises(PermanentError, match=message):
        open_translator(Options(model=str(described(config, words))), "en", "qu")


def test_another_weight_is_another_translator(described: Callable[..., Path]) -> None:
    model = described({"model_type": "marian"}, {})
    names = set()
    for weights in (b"\0" * 9_000_000, b"\0" * 9_000_000, b"\1" + b"\0" * 8_999_999, b"\0" * 8_999_999):
        (model / "model.safetensors").write_bytes(weights)
        names.add(_open(model=str(model)).name)
    assert len(names) == 3
    assert all(name.startswith(f"neural/{model.name}@") and name.endswith("-transformers") for name in names)


def test_batches_hold_every_text_once_and_keep_to_the_limit() -> None:
    lengths = [3, 9, 1, 30, 9, 9, 2]
    found = list(batches(lengths, 20))
    assert [[3], [1, 4], [5, 0], [6, 2]] == found
    assert sorted(range(len(lengths))) == sorted(at for batch in found for at in batch)
    assert [] == list(batches([], 20))
