"""Rows in, translated rows out: what travels, what is asked again, what is rejected."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence

from tasks.llava.conversation import Conversation, Turn
from tasks.llava.lexicon import Lexicon
from tasks.llava.translate import (
    Remembered,
    Translated,
    from_table,
    record,
    rows_table,
    to_table,
    translate_rows,
)
from tasks.remote.journal import Answer
from tasks.storage.schemas import CONVERSATIONS

QUESTION = "<image>\nWhat is the man doing?"
ANSWER = "The man is riding a red bicycle.\n\n1. He wears a helmet. He is careful.\n2. The street is empty."


def _row(*values: str, row: int = 0, extra: str | None = None) -> Conversation:
    turns = tuple(Turn(("human", "gpt")[n % 2], value) for n, value in enumerate(values))
    return Conversation(row, f"{row:012}", f"{row:012}.jpg", turns, extra)


def _reverse(text: str) -> str:
    return " ".join(reversed(text.rstrip(".?").lower().split())).capitalize() + text[-1]


class Engine:
    """Turns the words round, except where told otherwise; remembers what it is asked and answers like a journal."""

    paid = False

    def __init__(self, name: str, answer: Callable[[str, int], Answer | None] = lambda text, attempt: None) -> None:
        self.name = name
        self._answer = answer
        self._journal: dict[tuple[str, int], Answer] = {}
        self.asked: list[tuple[str, int]] = []
        self.starts: set[str] = set()

    def ask(
        self, texts: Iterable[str], *, job: str, attempt: int = 0, fresh: str = "", starts: Collection[str] = ()
    ) -> dict[str, Answer]:
        self.starts = set(starts)
        answers = {}
        for text in dict.fromkeys(texts):
            key = (text, attempt)
            if fresh or key not in self._journal:
                self.asked.append(key)
                self._journal[key] = self._answer(text, attempt) or Answer(_reverse(text))
            answers[text] = self._journal[key]
        return answers


class Memory:
    def __init__(self, known: dict[str, Remembered]) -> None:
        self.name = "memory"
        self.lexicon: Lexicon | None = Lexicon.learn([])
        self._known = known

    def recall(self, values: Sequence[str]) -> dict[str, Remembered]:
        return {value: self._known[value] for value in values if value in self._known}


def _one(*engines: Engine, row: Conversation, memory: Memory | None = None, again: bool = False) -> Translated:
    forced = frozenset([row.row]) if again else frozenset()
    memories = [memory] if memory else []
    (done,) = translate_rows(
        [row], engines, job="j", languages=("en", "es"), memories=memories, again=forced, forcing="once"
    )
    return done


def test_only_sentences_travel_and_structure_stays() -> None:
    engine = Engine("one/1")
    done = _one(engine, row=_row(QUESTION, ANSWER))

    assert [
        "What is the man doing?",
        "The man is riding a red bicycle.",
        "He wears a helmet.",
        "He is careful.",
        "The street is empty.",
    ] == [text for text, _ in engine.asked]
    assert done.error is None
    assert [
        "<image>\nDoing man the is what?",
        "Bicycle red a riding is man the.\n\n1. Helmet a wears he. Careful is he.\n2. Empty is street the.",
    ] == [turn.target for turn in done.turns]
    assert ["one/1", "one/1"] == [turn.translator for turn in done.turns]


def test_equal_turns_are_translated_once() -> None:
    engine = Engine("one/1")
    rows = [_row(QUESTION, ANSWER, row=n) for n in range(3)]

    translate_rows(rows, [engine], job="j", languages=("en", "es"))

    assert 5 == len(engine.asked)


def test_the_engine_is_told_with_which_new_text_each_conversation_begins() -> None:
    engine = Engine("one/1")
    rows = [_row("Is it red?", "Yes.", row=7), _row("Is it red?", "It is blue.", row=8), _row("Yes.", row=9)]

    translate_rows(rows, [engine], job="j", languages=("en", "es"))

    assert ["Is it red?", "Yes.", "It is blue."] == [text for text, _ in engine.asked]
    assert {"Is it red?", "It is blue."} == engine.starts


def test_a_turn_without_text_is_kept() -> None:
    engine = Engine("one/1")
    done = _one(engine, row=_row("<image>", "42"))

    assert [] == engine.asked
    assert [("<image>", "kept"), ("42", "kept")] == [(turn.target, turn.translator) for turn in done.turns]


def test_a_hard_failure_is_asked_again_alone_and_only_the_bad_sentence() -> None:
    engine = Engine("one/1", lambda text, attempt: Answer("") if "careful" in text and attempt == 0 else None)
    done = _one(engine, row=_row(QUESTION, ANSWER))

    assert done.error is None
    assert [("He is careful.", 1)] == [key for key in engine.asked if key[1] == 1]


def test_what_no_translator_would_change_costs_no_row() -> None:
    stays = Engine("one/1", lambda text, attempt: Answer(text) if "/" in text or "\\" in text else None)
    done = _one(stays, row=_row("- https://example.com/some/path/to/file", r"\sin(\theta) = \cos(\theta) + \tan(x)"))

    assert done.error is None
    assert [turn.value for turn in done.row.turns] == [turn.target for turn in done.turns]


def test_then_the_next_translator_does_the_whole_turn() -> None:
    echo = Engine("one/1", lambda text, attempt: Answer(text) if "bicycle" in text else None)
    second = Engine("two/1")
    done = _one(echo, second, row=_row(QUESTION, ANSWER))

    assert done.error is None
    assert ["one/1", "two/1"] == [turn.translator for turn in done.turns]
    assert 4 == len(second.asked)


def test_then_the_row_is_rejected_with_its_reason_and_the_others_are_delivered() -> None:
    echo = Engine("one/1", lambda text, attempt: Answer(text) if "bicycle" in text else None)
    rows = [_row(QUESTION, ANSWER, row=0), _row(QUESTION, "It is a good day.", row=1)]

    bad, good = translate_rows(rows, [echo], job="j", languages=("en", "es"))

    assert good.error is None
    assert (
        "echo",
        "Row 0, turn 1 has no good translation (one/1: echo, one/1: echo). `force` with `chunks` asks again.",
    ) == (
        bad.error,
        bad.message,
    )


def test_what_the_service_refuses_is_not_asked_twice_in_the_same_way() -> None:
    engine = Engine("one/1", lambda text, attempt: Answer(None, "refused") if "bicycle" in text else None)
    done = _one(engine, row=_row(ANSWER))

    assert "refused" == done.error
    assert {0} == {attempt for _, attempt in engine.asked}


def test_a_rejected_row_is_asked_again_only_when_told_to_and_only_for_what_was_bad() -> None:
    broken = True
    engine = Engine("one/1", lambda text, attempt: Answer("") if broken and "careful" in text else None)
    row = _row(QUESTION, ANSWER)
    assert "empty" == _one(engine, row=row).error
    broken = False
    engine.asked.clear()

    assert "empty" == _one(engine, row=row).error
    assert [] == engine.asked
    assert _one(engine, row=row, again=True).error is None
    assert [("He is careful.", 0)] == engine.asked


def test_a_good_turn_of_the_memory_is_taken_over() -> None:
    engine = Engine("one/1")
    memory = Memory({QUESTION: Remembered("<image>\n¿Qué está haciendo el hombre?", flagged=False)})
    done = _one(engine, row=_row(QUESTION, "It is a good day."), memory=memory)

    assert ["memory", "one/1"] == [turn.translator for turn in done.turns]
    assert "<image>\n¿Qué está haciendo el hombre?" == done.turns[0].target


def test_what_reviewers_settled_comes_before_a_memory_and_any_engine() -> None:
    engine = Engine("one/1")
    settled = Memory({QUESTION: Remembered("<image>\n¿Qué hace el hombre?", flagged=False)})
    settled.name, settled.lexicon = "reviewed", None
    memory = Memory({QUESTION: Remembered("<image>\n¿Qué está haciendo el hombre?", flagged=False)})

    (done,) = translate_rows(
        [_row(QUESTION, "It is a good day.")], [engine], job="j", languages=("en", "es"), memories=[settled, memory]
    )

    assert [("<image>\n¿Qué hace el hombre?", "reviewed"), ("Day good a is it.", "one/1")] == [
        (turn.target, turn.translator) for turn in done.turns
    ]
    assert [("It is a good day.", 0)] == engine.asked


def test_a_settled_text_that_breaks_the_structure_gives_way_to_the_engine() -> None:
    settled = Memory({QUESTION: Remembered("¿Qué hace el hombre?", flagged=False)})
    settled.name = "reviewed"

    (turn,) = _one(Engine("one/1"), row=_row(QUESTION), memory=settled).turns

    assert ("one/1", [("reviewed", "lines")]) == (turn.translator, turn.failures)


def test_a_row_that_was_refused_takes_its_settled_text_when_asked_again() -> None:
    refusing = Engine("one/1", lambda text, attempt: Answer(None, "refused"))
    settled = Memory({QUESTION: Remembered("<image>\n¿Qué hace el hombre?", flagged=False)})
    settled.name = "reviewed"

    done = _one(refusing, row=_row(QUESTION), memory=settled, again=True)

    assert (None, "reviewed", []) == (done.error, done.turns[0].translator, refusing.asked)


def test_a_flagged_turn_of_the_memory_is_asked_and_is_the_last_resort() -> None:
    memory = Memory({QUESTION: Remembered("<image>\n¿Qué hace el hombre", flagged=True)})

    asked = _one(Engine("one/1"), row=_row(QUESTION), memory=memory)
    last = _one(Engine("one/1", lambda text, attempt: Answer("")), row=_row(QUESTION), memory=memory)

    assert "one/1" == asked.turns[0].translator
    assert ("memory", ["end"]) == (last.turns[0].translator, last.turns[0].codes)


def test_soft_findings_stay_with_their_turn() -> None:
    engine = Engine("one/1", lambda text, attempt: Answer("Son 7 y el perro está aquí mismo") if "5" in text else None)
    done = _one(engine, row=_row(QUESTION, "There are 5 dogs over here today."))

    assert [[], ["end", "numbers"]] == [turn.codes for turn in done.turns]


def test_a_chunk_s_table_holds_every_row_and_the_finished_record() -> None:
    extra = json.dumps({"id": 7, "source": "us", "conversations": [{}, {"weight": 1}]})
    rows = [_row(QUESTION, "It is a good day.", extra=extra), _row(QUESTION, "Bad day for them all.", row=1)]
    engine = Engine("one/1", lambda text, attempt: Answer("") if "Bad" in text else None)

    table = to_table(translate_rows(rows, [engine], job="j", languages=("en", "es")), {0: 0.0, 1: 0.0})

    assert [0, 1] == table["row"].to_pylist()
    assert [None, "empty"] == table["error"].to_pylist()
    assert table["record"][1].as_py() is None
    assert {
        "id": 7,
        "image": "000000000000.jpg",
        "conversations": [
            {"from": "human", "value": "<image>\nDoing man the is what?"},
            {"from": "gpt", "value": "Day good a is it.", "weight": 1},
        ],
        "source": "us",
    } == json.loads(table["record"][0].as_py())


def test_rows_come_back_from_their_table() -> None:
    rows = [_row(QUESTION, ANSWER, extra='{"a": 1}'), Conversation(5, None, None, (Turn("human", "hi"),))]
    assert rows == from_table(rows_table(rows, CONVERSATIONS.columns))


def test_a_record_keeps_what_the_source_left_out() -> None:
    row = Conversation(0, None, None, (Turn("human", "42"),))
    done = _one(Engine("one/1"), row=row)
    assert {"conversations": [{"from": "human", "value": "42"}]} == json.loads(record(done))
