"""The model card: ``README.md`` with the front matter that the Hub reads, figures in ``model-index`` among it.

Its example is the whole way from an image to an answer with transformers and PEFT alone, with the exact prompt that was
trained; the tests run it as it is printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from tasks.models.prompts import TEXT
from tasks.pages.words import duration, markdown_table
from tasks.training.plan import Plan
from tasks.training.progress import Point

_SHOWN = 20  # refused rows that are named

# By the Trainer's name: the Hub's type, and what people call it.
_METRICS = {
    "eval_f1_macro": ("f1", "F1 macro"),
    "eval_f1_micro": ("f1", "F1 micro"),
    "eval_subset_accuracy": ("accuracy", "Subset accuracy"),
    "eval_hamming_loss": ("hamming_loss", "Hamming loss"),
    "eval_loss": ("loss", "Loss per answer token"),
}


def model_card(
    plan: Plan, name: str, known: Mapping[str, Any], best: Point, steps: int, rejected: Sequence[Mapping[str, Any]]
) -> str:
    """The card of an adapter.

    Args:
        plan: The job.
        name: Of the adapter's folder.
        known: What the reporter kept: seconds, sessions, environments, parameters, family, prompt, tokens of an answer.
        best: The evaluation of the checkpoint that was taken.
        steps: Steps that were trained in all.
        rejected: The refused rows.
    """
    front = yaml.safe_dump(_front(plan, name, best), sort_keys=False, allow_unicode=True)
    body = "\n\n".join(_body(plan, name, known, best, steps, rejected))
    return f"---\n{front}---\n\n{body}\n"


def chat_example(plan: Plan, messages: Sequence[Mapping[str, Any]], template: Mapping[str, Any]) -> str:
    """A program that lets a chat adapter write the next turn, to be run in its folder.

    Args:
        plan: The job.
        messages: A conversation that ends with the user's turn, as the chat template gets it.
        template: What the chat template is told besides them.
    """
    told = "".join(f", {name}={value!r}" for name, value in template.items())
    turns = ",\n".join(f"    {dict(message)!r}" for message in messages)
    lines = [
        "import torch",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'folder = "."  # this card\'s',
        'device = "cuda" if torch.cuda.is_available() else "cpu"',
        f"base = AutoModelForCausalLM.from_pretrained({plan.base.place!r}, dtype=torch.{plan.settings.dtype})",
        "model = PeftModel.from_pretrained(base, folder).eval().to(device)",
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        "",
        f"messages = [\n{turns},\n]",
        "inputs = tokenizer.apply_chat_template(",
        f'    messages, add_generation_prompt=True{told}, return_dict=True, return_tensors="pt"',
        ").to(device)",
        "with torch.inference_mode():",
        "    tokens = model.generate(**inputs, max_new_tokens=256, do_sample=False, repetition_penalty=1.0)",
        'answer = tokens[0, inputs["input_ids"].shape[1] :]',
        "print(tokenizer.decode(answer, skip_special_tokens=True))",
    ]
    return "\n".join(lines)


def example(plan: Plan, family: str, prompt: str, longest: int) -> str:
    """A program that asks the adapter, to be run in its folder.

    Args:
        plan: The job.
        family: Of the base model.
        prompt: As the model gets it, with ``{text}`` in the place of a row's text.
        longest: Tokens of the longest allowed answer; 0 where answers are free.
    """
    sees = plan.base.sees
    # A chat template has written all special tokens; PaliGemma's processor adds its own.
    special = "" if family.startswith("paligemma") else ", add_special_tokens=False"
    model, processor = (
        ("AutoModelForImageTextToText", "AutoProcessor") if sees else ("AutoModelForCausalLM", "AutoTokenizer")
    )
    asks = TEXT in prompt
    lines = [
        "import torch",
        "from peft import PeftModel",
        *(["from PIL import Image, ImageOps"] if sees else []),
        f"from transformers import {model}, {processor}",
        "",
        'folder = "."  # this card\'s',
        'device = "cuda" if torch.cuda.is_available() else "cpu"',
        f"base = {model}.from_pretrained({plan.base.place!r}, dtype=torch.{plan.settings.dtype})",
        "model = PeftModel.from_pretrained(base, folder).eval().to(device)",
        f"processor = {processor}.from_pretrained(folder)",
        "",
        *(['image = ImageOps.exif_transpose(Image.open("example.png")).convert("RGB")  # of yours'] if sees else []),
        *(['text = "what somebody wrote"'] if asks else []),
        f"prompt = {prompt!r}",
        'asked = prompt.replace("{text}", text)' if asks else "asked = prompt",
        (
            f'inputs = processor(text=[asked], images=[[image]]{special}, return_tensors="pt")'
            if sees
            else f'inputs = processor([asked]{special}, return_tensors="pt")'
        ),
        "with torch.inference_mode():",
        f"    tokens = model.generate(**inputs.to(device), max_new_tokens={max(64, longest)}, do_sample=False,",
        "        repetition_penalty=1.0)",
        'answer = tokens[0, inputs["input_ids"].shape[1] :]',
        "print(processor.decode(answer, skip_special_tokens=True))",
    ]
    return "\n".join(lines)


def _front(plan: Plan, name: str, best: Point) -> dict[str, Any]:
    sees = plan.base.sees
    metrics = [
        {"type": kind, "name": f"{called} (validation)", "value": round(best[key], 6)}
        for key, (kind, called) in _METRICS.items()
        if key in best
    ]
    result: dict[str, Any] = {
        "task": {"type": "image-text-to-text" if sees else "text-generation", "name": _task(plan)},
        "dataset": {
            "name": plan.source.name,
            "type": plan.source.name,
            "revision": plan.source.version,
            "split": "validation",
            "args": {"rows": plan.rows["validation"]},
        },
        "metrics": metrics,
    }
    return {
        "base_model": plan.base.name,
        "library_name": "peft",
        "pipeline_tag": result["task"]["type"],
        "license": plan.source.licence or "unknown",
        "tags": ["lora", "trasvase", *(["toy"] if plan.base.toy else [])],
        "model-index": [{"name": name, "results": [result]}],
    }


def _body(
    plan: Plan,
    name: str,
    known: Mapping[str, Any],
    best: Point,
    steps: int,
    rejected: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    yield f"# {name}"
    if plan.base.toy:
        yield "**A toy**: its base model is tiny and random. It shows that the way works, and nothing else."
    source, settings = plan.source, plan.settings
    yield (
        f"A LoRA adapter of `{plan.base.name}` for {_task(plan)}, trained by Trasvase on {plan.rows['train']:,} rows of "
        f"{source.name}, version {source.version}."
    )
    if plan.label_sets:
        answers = ", ".join(plan.label_sets.answer(number) for number in range(min(4, len(plan.label_sets.sets))))
        yield (
            f"Labels: {', '.join(plan.label_sets.labels)}. An answer is one of {len(plan.label_sets.sets)} JSON arrays: "
            f"{answers}{', …' if len(plan.label_sets.sets) > 4 else ''}"
        )
    yield "## Use"
    if plan.base.sees:
        yield "In this folder, with an image `example.png`:"
    written = (
        chat_example(plan, known["messages"], known.get("template", {}))
        if plan.columns.messages
        else example(plan, known["family"], known["prompt"], known.get("longest", 0))
    )
    yield f"```python\n{written}\n```"
    if plan.said:
        yield "## Conversations"
        yield from _conversations(plan)
    yield "## Validation"
    figures = [[called, f"{best[key]:.4f}"] for key, (_, called) in _METRICS.items() if key in best]
    yield markdown_table(["metric", f"n = {plan.rows['validation']:,}"], figures)
    yield (
        f"Of step {best['step']:,} of {steps:,}, the best one by {plan.metric()} on these same rows, so a little better "
        "than it will be elsewhere. "
        + (
            "Labels are those of the likeliest answer, without thresholds. The test split was not looked at: "
            "`evaluate-adapter` does that."
            if plan.label_sets
            else "A lower loss does not make a better text, and the test split was not looked at: `compare-jokes` lets a "
            "judge compare what is written."
        )
    )
    yield "![Loss](loss.svg)"
    yield "## Training"
    environment = known["environments"][-1]
    yield markdown_table(
        ["", ""],
        [
            ["base model", f"`{plan.base.name}`, {plan.base.digest}"],
            ["dataset", f"{source.name}, version {source.version}"],
            ["licence of the data", source.licence or "not known; ask its source before you pass this on"],
            ["rows", ", ".join(f"{split} {count:,}" for split, count in plan.rows.items())],
            ["prompt", f"{plan.prompt.name}, laid out as {known['family']}"],
            ["trained parameters", f"{known['parameters']:,}"],
            ["time", f"{duration(known['seconds'])} in {_times(known['sessions'])}"],
            ["seed", str(settings.seed)],
            ["job", plan.job],
            *([key, value] for key, value in environment.items()),
        ],
    )
    if len(known["environments"]) > 1:
        yield f"It was resumed on other versions or machines; the first ones were: {known['environments'][:-1]}."
    yield "Settings, under PEFT's and the Trainer's names:"
    yield markdown_table(
        ["setting", "value"], [[key, f"`{value}`"] for key, value in settings.model_dump(mode="json").items()]
    )
    if rejected:
        yield "## Refused rows"
        yield (
            f"{len(rejected):,} rows were not trained or evaluated on, and nothing took their place. All of them: "
            "`rejected.json`."
        )
        rows = [[row["split"], str(row["row"]), row["error"], row["message"]] for row in rejected[:_SHOWN]]
        yield markdown_table(["split", "row", "reason", "message"], rows)
    yield "## Limits"
    limits = [
        "It knows what its data know: their language, their time, their authors' and annotators' opinions and mistakes.",
        "An answer is a suggestion for a person, never a decision about one.",
        (
            "Generated answers may be no JSON; scoring all allowed answers (`evaluate-adapter`) has no such failures."
            if plan.label_sets
            else "It may write what its data say word by word. Look for that before you pass a text on as new."
        ),
        "The base model's own terms and limits hold as well.",
    ]
    yield "\n".join(f"- {limit}" for limit in limits)


def _conversations(plan: Plan) -> Iterator[str]:
    names = ("rows", "answers", "answer tokens", "all tokens", "tokens of the longest", "rows with a system message")
    keys = ("answers", "answer_tokens", "tokens", "longest", "with_system")
    yield markdown_table(
        ["split", *names],
        [
            [split, *(f"{n:,}" for n in (plan.rows[split], *(of[key] for key in keys)))]
            for split, of in plan.said.items()
        ],
    )
    longest = plan.settings.max_length
    yield (
        "The loss is taken on the answers alone: on every turn of the assistant and the token that ends it, in the layout "
        "of the model's own chat template. Where that has no turn for the system, its words stand before the user's first. "
        "Nothing was cut: conversations that are longer than "
        + (f"{longest:,} tokens (max_length)" if longest else "the model takes")
        + " are refused."
        + (
            " The template writes an answer otherwise once another turn follows, so each answer of a conversation was "
            "shown on its own, after the turns before it."
            if any(plan.lessons(split) > plan.rows[split] for split in plan.said)
            else ""
        )
    )


def _task(plan: Plan) -> str:
    if plan.label_sets is None:
        return "conversations" if plan.columns.messages else "completions"
    return "single-label classification" if plan.label_sets.is_single else "multi-label classification"


def _times(sessions: int) -> str:
    return "one session" if sessions == 1 else f"{sessions} sessions"
