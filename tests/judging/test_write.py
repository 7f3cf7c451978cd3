"""Writers on this machine and of a service."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.chat.estimate import TEKKEN
from tasks.chat.mistral import MistralChat, Options
from tasks.chat.prices import read_prices
from tasks.chat.protocol import Reply
from tasks.judging.contestants import Local, Sampling, remote
from tasks.judging.cost import estimate_of, questions_of
from tasks.judging.write import LocalWriter
from tasks.remote.journal import Call, Journal
from tests.judging.walk import compared, split_of

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
DRAWN = Sampling(0.7, 100, 0)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Local:
    import torch

    from tests.judging.toys import writer

    torch.set_num_threads(1)
    return Local(str(writer(tmp_path_factory.mktemp("toys") / "toy", 0)), None, "float32", False, "cpu")


def asked(*words: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": f"Sobre: {word}"}] for word in words]


def told(replies: Sequence[Reply]) -> list[tuple[str | None, str | None]]:
    return [(reply.text, reply.refusal) for reply in replies]


def test_a_text_depends_on_its_request_and_seed_alone(toy: Local) -> None:
    words = ["suegra", "micro", "un asado muy largo", "perro"]
    together = LocalWriter(toy, DRAWN).write(asked(*words))
    apart = [LocalWriter(toy, DRAWN, batch=1).write(asked(word))[0] for word in words]
    assert told(together) == told(apart)
    assert {"toy:toy"} == {reply.model for reply in together}
    other = LocalWriter(toy, DRAWN._replace(seed=1)).write(asked(*words))
    assert told(together) != told(other)


def test_a_text_that_does_not_end_is_none(toy: Local) -> None:
    writer = LocalWriter(toy, DRAWN._replace(max_tokens=3))
    cut = [reply for reply in writer.write(asked(*map(str, range(12)))) if reply.refusal]
    assert {(None, "length")} == {(reply.text, reply.refusal) for reply in cut}
    assert cut[0].message.startswith("The text did not end within 3 tokens: ")


def test_a_request_that_does_not_fit_is_refused_and_the_others_are_written(toy: Local) -> None:
    writer = LocalWriter(toy, DRAWN)
    room = writer._loaded.model.config.max_position_embeddings
    replies = writer.write(asked("suegra", "x " * room, "micro"))
    assert [None, "too-long", None] == [reply.refusal if reply.refusal == "too-long" else None for reply in replies]
    assert told([replies[0], replies[2]]) == told(writer.write(asked("suegra", "micro")))
    assert replies[1].message.startswith("The request has a prompt of more than")


def test_what_it_would_cost_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    comparison = compared(tmp_path, split_of(tmp_path, ["suegra", "micro"]), str.upper, str.lower)
    small = remote("mistral:mistral-small-2603", "mistral", "mistral-small-2603", "mistral")
    a = replace(comparison.a, contestant=small)
    comparison = replace(comparison, a=a, b=a, judge="mistral:mistral-large-4", model="mistral-large-4")
    assert {"mistral": 8} == {chat: len(asked) for chat, asked in questions_of(comparison).items()}
    journal = Journal(tmp_path / "answers.sqlite")
    service = {"mistral": MistralChat(Options(url="http://127.0.0.1:9", max_rate=2.0))}
    (found,) = estimate_of(comparison, service, journal, read_prices(), batch=False)
    assert (3.0, "at 2 calls per second") == (found.seconds, found.time_from)
    journal.put({}, [Call(1.0, "job", service["mistral"].name, 1, 9, 32.0, "answered")])
    (found,) = estimate_of(comparison, service, journal, read_prices(), batch=False)
    assert (12.0, "16 calls at once of 32.0 s each, as measured") == (found.seconds, found.time_from)
    assert {"write-joke/1": 2, "judge-pair/1": 4} == {line.prompt: line.calls for line in found.lines}
    assert TEKKEN.source == found.tokens_from
    (half,) = estimate_of(comparison, service, journal, read_prices(), batch=True)
    assert pytest.approx(found.usd / 2) == half.usd
    journal.close()
