"""Chat models learn conversations: what is in the loss, what is refused, and that it is learnt. Tiny random models only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.evaluation.plan import BadEvaluation, answers_of
from tasks.models.adapter import read_adapter
from tasks.models.families.chat import Chat
from tasks.models.generate import Sampling, generate_chat
from tasks.models.load import BadModel, ModelOptions, find_speaker, load_chat
from tasks.splits.build import Dataset, Wanted, build
from tasks.storage.errors import PermanentError
from tasks.training import child
from tasks.training.batches import Conversations, collate_conversations
from tasks.training.card import chat_example
from tasks.training.launch import TrainingFailed, launch
from tasks.training.lora import LoraSettings, choose
from tasks.training.package import adapter_folder, package
from tasks.training.plan import EmptySplit, Plan, choose_columns, find_base, rejected_rows, source_of
from tasks.training.run import finished
from tests.models.test_chat import THINKS
from tests.training.test_train import SHORT, Toys, curve, largest_difference, run, weights
from tests.training.toy import planned

CHATS = ["mistral", "qwen2"]
THINGS = ["gato", "perro", "queso", "luna", "taxi", "sopa", "reloj", "primo", "playa", "gallo"]
DAYS = ["lunes", "martes", "jueves"]
LEARNS = SHORT.model_copy(
    update={
        "r": 16,
        "lora_alpha": 32,
        "learning_rate": 1e-2,
        "max_steps": 80,
        "per_device_train_batch_size": 10,
        "logging_steps": 20,
        "eval_steps": 40,
    }
)


def _joke(n: int) -> list[dict[str, str]]:
    """An invented pair of keywords and joke; every fourth has a turn of the system, every third a second question."""
    thing, day = THINGS[n % 10], DAYS[n % 3]
    said = [
        {"role": "user", "content": f"{thing}, {day}"},
        {"role": "assistant", "content": f"¿Qué hace un {thing} en {day}? Llega {n} minutos tarde."},
    ]
    if n % 3 == 0:
        said += [{"role": "user", "content": "¿Y luego?"}, {"role": "assistant", "content": f"Pide {thing} otra vez."}]
    return [{"role": "system", "content": "Eres cómico."}, *said] if n % 4 == 0 else said


def _dataset(folder: Path, jokes: list[list[dict[str, str]]], held_out: int = 3) -> Dataset:
    """A frozen version whose last jokes are for validation."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = ["train"] * (len(jokes) - held_out) + ["validation"] * held_out
    rows = [
        {"id": f"j{n}", "routine": f"r{n}", "messages": joke, "split": split, "text": "not looked at"}
        for n, (joke, split) in enumerate(zip(jokes, splits, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "jokes.parquet")
    return build(folder / "jokes.parquet", folder / "datasets", "jokes", Wanted(("routine",)))


@pytest.fixture(scope="module")
def jokes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return _dataset(tmp_path_factory.mktemp("jokes"), [_joke(n) for n in range(13)])


def _planned(jobs: Path, made: Dataset, base: Path, settings: LoraSettings = SHORT) -> Plan:
    return planned(jobs, made, base, None, settings, labels=None)


def _messages(plan: Plan, split: str) -> list[list[dict[str, str]]]:
    rows: list[list[dict[str, str]]] = pq.read_table(plan.source.split(split)).column("messages").to_pylist()
    return rows


@pytest.mark.parametrize("name", CHATS)
def test_the_answers_of_a_batch_are_in_the_loss_and_nothing_else(
    name: str, jokes: Dataset, toys: Toys, tmp_path: Path
) -> None:
    plan = _planned(tmp_path, jokes, toys(name))
    family = find_speaker(str(toys(name))).family
    rows = Conversations(plan, "train", family)
    batch = collate_conversations([rows[at] for at in range(len(rows))])
    eos = family.processor.decode([family.eos])
    for at, messages in enumerate(_messages(plan, "train")):
        tokens, said = batch["answer_tokens"][at], batch["answer_said"][at].bool()
        answers = [each["content"] for each in messages if each["role"] == "assistant"]
        spoken = family.processor.decode(tokens[said]).split(eos)
        assert [*answers, ""] == [text.strip() for text in spoken]
        seen = torch.cat([batch["input_ids"][at], tokens])[
            torch.cat([batch["attention_mask"][at], batch["answer_mask"][at]]).bool()
        ]
        assert family.answered(messages).tokens == seen.tolist()


@pytest.mark.parametrize("name", CHATS)
def test_the_loss_is_the_one_that_is_computed_by_hand_row_by_row(
    name: str, jokes: Dataset, toys: Toys, tmp_path: Path
) -> None:
    plan = _planned(tmp_path, jokes, toys(name))
    model, family = child.with_adapter(plan)
    from tasks.training.trainer import AnswerTrainer, training_arguments

    assert isinstance(family, Chat)
    rows = Conversations(plan, "train", family)
    how = {"args": training_arguments(plan, 4, 1, 4), "eval_dataset": rows}
    trainer = AnswerTrainer(family, None, None, 1, model=model, **how)
    loss = trainer.compute_loss(model, collate_conversations([rows[at] for at in range(len(rows))]))

    total, count = 0.0, 0
    for messages in _messages(plan, "train"):
        tokens, said = family.answered(messages)
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0].double()
        for at in range(1, len(tokens)):
            if said[at]:
                total -= float(torch.log_softmax(logits[at - 1], -1)[tokens[at]])
                count += 1
    assert total / count == pytest.approx(loss.item(), rel=1e-5)
    assert (count, sum(plan.rows.values())) == (plan.said["train"]["answer_tokens"], 13)


@pytest.fixture(scope="module", params=CHATS)
def learnt(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, toys: Toys, jokes: Dataset
) -> tuple[Plan, Path]:
    """A chat adapter that was trained on ten jokes, and packaged."""
    root = tmp_path_factory.mktemp(f"learnt-{request.param}")
    base = shutil.copytree(toys(request.param), root / "base")
    state = load_file(base / "model.safetensors")
    # Random outputs are so small that every word is about as likely, whatever comes before them.
    save_file(state | {"lm_head.weight": state["lm_head.weight"] * 10}, base / "model.safetensors", {"format": "pt"})
    plan = _planned(root / "jobs", jokes, base, LEARNS)
    run(plan)
    return plan, package(plan, adapter_folder(plan, root / "adapters", "vina"), finished)


def test_the_adapter_writes_the_jokes_that_it_learnt(learnt: tuple[Plan, Path]) -> None:
    plan, adapter = learnt
    model, family, _, record, toy = load_chat(
        ModelOptions(base_model=plan.base.name, adapter=adapter, dtype="float32", device="cpu")
    )
    talks = _messages(plan, "train")
    asked = [talk[:at] for talk in talks for at, each in enumerate(talk) if each["role"] == "assistant"]
    expected = [talk[at]["content"] for talk in talks for at, each in enumerate(talk) if each["role"] == "assistant"]
    written = generate_chat(model, family, asked, Sampling(max_new_tokens=80))
    assert 14 == len(expected), "four of ten have a second answer"
    assert expected == [each.text for each in written]
    assert {"stop"} == {each.finish for each in written}
    assert toy
    assert record is not None
    assert (None, "messages") == (record.label_sets, record.columns.messages)


def test_the_card_s_example_writes_what_the_adapter_writes(learnt: tuple[Plan, Path]) -> None:
    plan, adapter = learnt
    card = (adapter / "README.md").read_text("utf-8")
    (block,) = [block.split("```")[0] for block in card.split("```python\n")[1:]]
    # What the product does for a torchvision that was built for CUDA, then the block as it is printed.
    shim = "from tasks.models.torchvision import let_torchvision_load; let_torchvision_load()"
    program = f"{shim}\nexec(compile({block!r}, 'README.md', 'exec'), {{}})"
    env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=adapter, env=env, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr
    loaded = load_chat(ModelOptions(base_model=plan.base.name, adapter=adapter, dtype="float32", device="cpu"))
    first = _messages(plan, "validation")[0]
    asked = first[: [each["role"] for each in first].index("assistant")]
    (written,) = generate_chat(loaded.model, loaded.family, [asked], Sampling())
    assert written.text == done.stdout.strip()


def test_the_card_s_example_tells_the_chat_template_what_it_was_told(learnt: tuple[Plan, Path]) -> None:
    asked = chat_example(learnt[0], [{"role": "user", "content": "gato"}], {"enable_thinking": False})
    assert 'messages, add_generation_prompt=True, enable_thinking=False, return_dict=True, return_tensors="pt"' in asked


def test_the_card_says_what_was_said_and_what_was_in_the_loss(learnt: tuple[Plan, Path]) -> None:
    plan, adapter = learnt
    card = (adapter / "README.md").read_text("utf-8")
    said = plan.said["train"]
    assert f"| train | 10 | {said['answers']} | {said['answer_tokens']:,} | {said['tokens']:,} |" in card
    assert "The loss is taken on the answers alone" in card
    assert "`compare-jokes` lets a judge compare" in card
    assert "evaluate-adapter" not in card
    assert adapter == (adapter.parent / "latest-chat").resolve()
    assert not (adapter.parent / "latest").exists(), "evaluate-adapter would try to measure it"


def test_evaluate_adapter_names_who_compares_chat_adapters(learnt: tuple[Plan, Path]) -> None:
    _, adapter = learnt
    with pytest.raises(BadEvaluation, match=r"was trained to write text, .* compare-jokes lets a judge compare"):
        answers_of(read_adapter(adapter), adapter.name)


def test_killed_while_it_learns_conversations_it_ends_as_if_undisturbed(
    jokes: Dataset, toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SHORT.model_copy(update={"lora_dropout": 0.2, "eval_steps": 4})
    undisturbed = _planned(tmp_path / "undisturbed", jokes, toys("mistral"), settings)
    run(undisturbed)
    plan = _planned(tmp_path / "killed", jokes, toys("mistral"), settings)
    monkeypatch.setenv("DIES", "training:5")
    with pytest.raises(TrainingFailed, match="SIGKILL"):
        run(plan, partial(launch, module=["-m", "tests.training.dying_child"]))
    assert 4 == run(plan)[0]["step"]
    assert 0.0 == largest_difference(weights(undisturbed), weights(plan))
    assert curve(undisturbed) == curve(plan)


def test_a_conversation_whose_answers_are_rewritten_later_is_several_lessons(toys: Toys, tmp_path: Path) -> None:
    base = shutil.copytree(toys("qwen2"), tmp_path / "base")
    (base / "chat_template.jinja").write_text(THINKS)
    plan = _planned(tmp_path, _dataset(tmp_path, [_joke(n) for n in range(13)]), base)
    answers = {split: sum(len(each) // 2 for each in _messages(plan, split)) for split in ("train", "validation")}
    assert (10, answers["train"]) == (plan.rows["train"], plan.lessons("train"))
    assert answers["validation"] > plan.rows["validation"]
    rows = Conversations(plan, "train", find_speaker(str(base)).family)
    assert answers["train"] == len(rows)
    assert plan.said["train"]["answer_tokens"] == sum(sum(rows[at].said) for at in range(len(rows)))
    run(plan)
    adapter = package(plan, adapter_folder(plan, tmp_path / "adapters", ""), finished)
    assert "each answer of a conversation was shown on its own, after" in (adapter / "README.md").read_text("utf-8")


def test_another_chat_template_is_another_job_and_never_taken_for_the_planned_one(
    jokes: Dataset, toys: Toys, tmp_path: Path
) -> None:
    base = shutil.copytree(toys("mistral"), tmp_path / "base")
    first = _planned(tmp_path, jokes, base)
    template = base / "chat_template.jinja"
    template.write_text("Now, " + template.read_text())
    assert first.job != _planned(tmp_path, jokes, base).job
    with pytest.raises(PermanentError, match=r"is not the model that it was when .* was planned"):
        child.with_adapter(first)


def test_what_cannot_be_learnt_is_refused_with_its_reason_and_nothing_is_cut(toys: Toys, tmp_path: Path) -> None:
    talks = [_joke(n) for n in range(1, 9)]
    talks[1] = [talks[1][0], {"role": "assistant", "content": "muy largo " * 200}]
    talks[2] = [talks[2][0], {"role": "assistant", "content": "Se acabó.</s>"}]
    made = _dataset(tmp_path, talks, held_out=2)
    plan = _planned(tmp_path / "jobs", made, toys("mistral"), SHORT.model_copy(update={"max_length": 200}))
    assert ({"train": 4, "validation": 2}, {"special-token": 1, "too-long": 1}) == (plan.rows, plan.rejected["train"])
    long, special = rejected_rows(plan)
    assert "and at most 200 are taken (max_length, and 131,072 by" in long["message"]
    assert (1, "j1", "too-long") == (long["row"], long["id"], long["error"])
    assert "Row 2 has a special token of the model in message 1, an answer." == special["message"]
    assert plan.said["train"]["longest"] <= 200
    family = find_speaker(str(toys("mistral"))).family
    rows = Conversations(plan, "train", family)
    assert [0, 3, 4, 5] == [rows[at].row for at in range(len(rows))]
    run(plan)
    adapter = package(plan, adapter_folder(plan, tmp_path / "adapters", ""), finished)
    assert 2 == len(json.loads((adapter / "rejected.json").read_bytes()))


def test_where_nothing_can_be_learnt_it_says_why(jokes: Dataset, toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(EmptySplit, match=r"none of the 10 rows can be used\. Row 0 has \d+ tokens, and at most 5 are"):
        _planned(tmp_path, jokes, toys("mistral"), SHORT.model_copy(update={"max_length": 5}))


def test_conversations_are_taken_where_nothing_else_was_named(jokes: Dataset, toys: Toys, tmp_path: Path) -> None:
    source = source_of(jokes.folder, jokes.certificate, None)
    chat = find_base(str(toys("mistral")))
    assert "messages" == choose_columns(source, chat, None, None, None, "").messages
    named = choose_columns(source, chat, ["text"], None, "id", "")
    assert ("", ("text",), "id") == (named.messages, named.text, named.labels)
    with pytest.raises(PermanentError, match="or take a chat model, which learns from texts alone"):
        choose_columns(source, find_base(str(toys("qwen2_vl"))), None, None, None, "")
    with pytest.raises(BadModel, match="takes images, and conversations here are text alone"):
        find_speaker(str(toys("qwen2_vl")))
    with pytest.raises(PermanentError, match="conversations have eval_loss alone"):
        _planned(tmp_path, jokes, toys("mistral"), SHORT.model_copy(update={"metric_for_best_model": "eval_f1_macro"}))


def test_the_predecessor_s_steps_and_rate_are_a_preset() -> None:
    base, settings = choose("", LoraSettings(), "vina-mistral-7b")
    assert ("mistralai/Mistral-7B-Instruct-v0.3", 25, 1e-4) == (base, settings.max_steps, settings.learning_rate)


def test_a_last_step_between_two_evaluations_has_its_checkpoint(jokes: Dataset, toys: Toys, tmp_path: Path) -> None:
    # As in that preset: 25 steps, evaluated every 10.
    plan = _planned(tmp_path, jokes, toys("qwen2"), SHORT.model_copy(update={"max_steps": 5, "eval_steps": 2}))
    run(plan)
    assert 5 == finished(plan)[-1].step
    assert package(plan, adapter_folder(plan, tmp_path / "adapters", ""), finished).is_dir()
