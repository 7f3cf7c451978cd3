"""Tiny random models of the real classes, saved as a hub's snapshot is and loaded by the same code::

    qwen2_5_vl(folder)   ->   folder/config.json  model.safetensors  tokenizer.json  chat_template.jinja  …

They answer nonsense until they are trained. ``trasvase_toy`` in their configuration says so, and every artefact made
with one repeats it. Each takes about 0.2 s to build and 1 MB.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tasks.models.prompts import MODERATION, RUSSIAN_MODERATION
from tasks.models.torchvision import let_torchvision_load

let_torchvision_load()

hf: Any = transformers  # its classes take more than their types say

HIDDEN, LAYERS, HEADS, IMAGE, PATCH = 64, 2, 4, 32, 8
_TEXT: dict[str, Any] = {
    "hidden_size": HIDDEN,
    "intermediate_size": 128,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
}
_VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
}
_SQUARES: dict[str, Any] = {"size": {"longest_edge": 2 * IMAGE}, "max_image_size": {"longest_edge": IMAGE}}

# What the tokenizers are trained on: enough that labels and prompts take few tokens.
_CORPUS = [
    MODERATION.system,
    RUSSIAN_MODERATION.system,
    "every label that applies, in the order given, or nothing ([]) where none does exactly one label ровно одна метка",
    '["racist", "sexist", "homophobe", "religion", "otherhate"] [] ["toxic"] ["non_toxic"] ["red", "blue", "loud"]',
    '["square", "disc", "storm"] a storm over nothing over',
    "User: Assistant: system user assistant [INST] [/INST] a red square, a blue disc, a loud word and a calm one.",
    "Текст на картинке: добрый вечер.",
] * 3

_QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SMOLVLM_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message.role | capitalize }}"
    "{% if message.content[0].type == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% else %}{{ '<image>' }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
# As Mistral's own: the system's words stand before the last user's, and nowhere once that one has been answered.
_MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% set turns = messages[1:] if messages[0].role == 'system' else messages %}"
    "{% for message in turns %}{% if message.role == 'user' %}[INST] "
    "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content + '\\n\\n' }}{% endif %}"
    "{{ message.content }}[/INST]"
    "{% elif message.role == 'assistant' %}{{ ' ' + message.content + eos_token }}{% endif %}{% endfor %}"
)


def paligemma(folder: Path, seed: int = 0) -> Path:
    """PaliGemma 2: SigLIP before Gemma 2, its prompt seen in both directions."""
    processor = paligemma_processor(IMAGE, PATCH)
    tokenizer = processor.tokenizer
    text = hf.Gemma2Config(
        **_TEXT,
        vocab_size=len(tokenizer),
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = hf.SiglipVisionConfig(
        **_VISION, image_size=IMAGE, patch_size=PATCH, vision_use_head=False, projection_dim=HIDDEN
    )
    config = hf.PaliGemmaConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=HIDDEN,
        hidden_size=HIDDEN,
        image_token_index=processor.image_token_id,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return _save(hf.PaliGemmaForConditionalGeneration, config, processor, folder, seed)


def paligemma_processor(image: int, patch: int) -> Any:
    """PaliGemma's processor for square images of this side, with a small vocabulary."""
    images = hf.SiglipImageProcessor(size={"height": image, "width": image})
    images.image_seq_length = (image // patch) ** 2
    return hf.PaliGemmaProcessor(images, _gemma_tokenizer())


def qwen2_vl(folder: Path, seed: int = 0) -> Path:
    """Qwen2-VL: pictures of any size, positions on three axes."""
    vision: dict[str, Any] = {
        "depth": LAYERS,
        "embed_dim": 32,
        "hidden_size": HIDDEN,
        "num_heads": HEADS,
        "mlp_ratio": 2,
        "patch_size": 14,
    }
    return _qwen_vl(folder, seed, hf.Qwen2VLConfig, hf.Qwen2VLForConditionalGeneration, hf.Qwen2VLProcessor, vision)


def qwen2_5_vl(folder: Path, seed: int = 0) -> Path:
    """Qwen2.5-VL: as Qwen2-VL, with windows of attention in the vision tower."""
    vision: dict[str, Any] = {
        "depth": LAYERS,
        "hidden_size": 32,
        "out_hidden_size": HIDDEN,
        "num_heads": HEADS,
        "intermediate_size": 64,
    }
    vision |= {"patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]}
    model, processor = hf.Qwen2_5_VLForConditionalGeneration, hf.Qwen2_5_VLProcessor
    return _qwen_vl(folder, seed, hf.Qwen2_5_VLConfig, model, processor, vision)


def smolvlm(folder: Path, seed: int = 0) -> Path:
    """SmolVLM2: an image as a grid of squares and one whole view."""
    model, video = hf.SmolVLMForConditionalGeneration, (hf.SmolVLMVideoProcessor(**_SQUARES),)
    return _squares(folder, seed, hf.SmolVLMConfig, model, hf.SmolVLMProcessor, hf.SmolVLMImageProcessor, *video)


def idefics3(folder: Path, seed: int = 0) -> Path:
    """The first SmolVLM, in the classes of Idefics 3."""
    model, processor = hf.Idefics3ForConditionalGeneration, hf.Idefics3Processor
    return _squares(folder, seed, hf.Idefics3Config, model, processor, hf.Idefics3ImageProcessor)


def mistral(folder: Path, seed: int = 0) -> Path:
    """Mistral: text alone."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    # Without the letters of the corpus alone: bytes are there for the others.
    _train(backend, [*special, *(f"<0x{byte:02X}>" for byte in range(256))], [])
    plain = json.loads(backend.to_str())
    # As in Mistral's own: bytes are letters, not special tokens that a text must not hold.
    plain["added_tokens"] = [token for token in plain["added_tokens"] if token["content"] in special]
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(plain)),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        additional_special_tokens=["[INST]", "[/INST]"],
        chat_template=_MISTRAL_TEMPLATE,
    )
    config = hf.MistralConfig(
        **_TEXT, vocab_size=len(tokenizer), num_key_value_heads=2, sliding_window=None, **_special_ids(tokenizer)
    )
    return _save(hf.MistralForCausalLM, config, tokenizer, folder, seed)


def qwen2(folder: Path, seed: int = 0) -> Path:
    """Qwen2: text alone, with a turn of the system."""
    tokenizer = _byte_tokenizer("<|endoftext|>", ["<|im_start|>", "<|im_end|>"], eos="<|im_end|>")
    tokenizer.chat_template = _QWEN_TEMPLATE
    config = hf.Qwen2Config(**_TEXT, vocab_size=len(tokenizer), num_key_value_heads=2, **_special_ids(tokenizer))
    return _save(hf.Qwen2ForCausalLM, config, tokenizer, folder, seed)


def clip(folder: Path, seed: int = 0) -> Path:
    """CLIP: one vector for an image and one for a text."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|startoftext|>", "<|endoftext|>"]
    _train(backend, [*letters, *(f"{letter}</w>" for letter in letters), *special], letters, end_of_word_suffix="</w>")
    vocab, merges = _vocab_and_merges(backend)
    tokenizer = hf.CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)
    processor = hf.CLIPProcessor(
        hf.CLIPImageProcessor(size={"shortest_edge": IMAGE}, crop_size={"height": IMAGE, "width": IMAGE}), tokenizer
    )
    text = dict(**_TEXT, vocab_size=len(tokenizer), projection_dim=HIDDEN, **_special_ids(tokenizer))
    vision = dict(**_VISION, image_size=IMAGE, patch_size=PATCH, projection_dim=HIDDEN)
    config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=HIDDEN)
    return _save(hf.CLIPModel, config, processor, folder, seed)


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "paligemma": paligemma,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "smolvlm": smolvlm,
    "idefics3": idefics3,
    "mistral": mistral,
    "qwen2": qwen2,
}


def _squares(folder: Path, seed: int, config: Any, model: Any, processor: Any, images: Any, *video: Any) -> Path:
    names = "<|im_start|> <end_of_utterance> <fake_token_around_image> <image> <global-img>".split()
    squares = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    tokenizer = _byte_tokenizer("<|endoftext|>", [*names, *squares], eos="<end_of_utterance>")
    both = processor(
        images(**_SQUARES),
        tokenizer,
        *video,
        image_seq_len=(IMAGE // PATCH) ** 2 // 4,
        chat_template=_SMOLVLM_TEMPLATE,
    )
    ids = _special_ids(tokenizer)
    settings = config(
        text_config=hf.LlamaConfig(
            **_TEXT, vocab_size=len(tokenizer), num_key_value_heads=2, rope_theta=10_000.0, **ids
        ),
        vision_config=dict(**_VISION, image_size=IMAGE, patch_size=PATCH),
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=ids["pad_token_id"],
    )
    return _save(model, settings, both, folder, seed)


def _qwen_vl(folder: Path, seed: int, config: Any, model: Any, processor: Any, vision: dict[str, Any]) -> Path:
    names = "<|im_start|> <|im_end|> <|vision_start|> <|vision_end|> <|image_pad|> <|video_pad|>".split()
    tokenizer = _byte_tokenizer("<|endoftext|>", names, eos="<|im_end|>")
    number = dict(zip(names, tokenizer.convert_tokens_to_ids(names), strict=True))
    budget = {"shortest_edge": 56 * 56, "longest_edge": 84 * 84}
    both = processor(
        hf.Qwen2VLImageProcessor(size=budget),
        tokenizer,
        hf.Qwen2VLVideoProcessor(size=budget),
        chat_template=_QWEN_TEMPLATE,
    )
    settings = config(
        text_config=dict(
            **_TEXT,
            vocab_size=len(tokenizer),
            num_key_value_heads=2,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]},
            **_special_ids(tokenizer),
        ),
        vision_config=vision,
        image_token_id=number["<|image_pad|>"],
        video_token_id=number["<|video_pad|>"],
        vision_start_token_id=number["<|vision_start|>"],
        vision_end_token_id=number["<|vision_end|>"],
    )
    return _save(model, settings, both, folder, seed)


def _byte_tokenizer(pad: str, special: list[str], eos: str) -> Any:
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    _train(backend, [pad], sorted(pre_tokenizers.ByteLevel.alphabet()))
    vocab, merges = _vocab_and_merges(backend)
    tokenizer = hf.Qwen2Tokenizer(vocab=vocab, merges=merges, eos_token=eos, pad_token=pad, unk_token=pad)
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    return tokenizer


def _gemma_tokenizer() -> Any:
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_next")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    _train(backend, special, [])
    vocab, merges = _vocab_and_merges(backend)
    return hf.GemmaTokenizer(vocab=vocab, merges=merges)


def _train(backend: Any, special: list[str], alphabet: list[str], **how: Any) -> None:
    trainer: Any = trainers.BpeTrainer(
        vocab_size=len(special) + len(alphabet) + 800,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
        **how,
    )
    backend.train_from_iterator(_CORPUS, trainer)


def _vocab_and_merges(backend: Any) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(backend.to_str())["model"]
    return model["vocab"], [(first, second) for first, second in model["merges"]]


def _special_ids(tokenizer: Any) -> dict[str, int | None]:
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}


def _save(model: Any, config: Any, processor: Any, folder: Path, seed: int) -> Path:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    config.trasvase_toy = True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
