"""Rows in, translated rows out: the heart of the walk.

Only sentences travel. Structure stays home, every turn is verified once it has been put together, and a turn that
fails goes through the attempts one by one::

    what reviewers settled -> memory -> first translator -> the same, each sentence alone -> next translator …
    -> a flagged memory -> refused

A turn comes from one attempt as a whole, so its style does not change half-way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, pairwise
from typing import Protocol

import pyarrow as pa

from tasks.llava.checks import Checks
from tasks.llava.conversation import Conversation, Turn
from tasks.llava.lexicon import Lexicon
from tasks.llava.segments import Unit, cut, join, texts
from tasks.llava.verify import verify_frame, verify_segment, verify_turn
from tasks.remote.journal import REFUSED, Answer
from tasks.storage.schemas import TRANSLATIONS

VERSION = "3"  # of segments, verification and checks: a change that alters results makes new jobs
LEARNT = 1_500  # sentences at most from which a chunk's words are learnt: all 5,000 cost 0.4 ms more per row
KEPT = "kept"  # the translator of a turn in which nothing travels, such as "<image>" or "42"
REVIEWED = "reviewed"  # the translator of a turn whose text people settled (tasks/llava/corrections.py)


class Engine(Protocol):
    """Asks one translator, through the journal."""

    @property
    def name(self) -> str:
        """Name and version."""

    @property
    def paid(self) -> bool:
        """Whether an answer may cost anything."""

    def ask(
        self, texts: Iterable[str], *, job: str, attempt: int = 0, fresh: str = "", starts: Collection[str] = ()
    ) -> dict[str, Answer]:
        """An answer, or a refusal, for every text; ``starts`` are those with which a conversation begins."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a translation memory holds for a turn: its text, and whether the checks flagged it."""

    text: str
    flagged: bool


class Memory(Protocol):
    """An existing translation, verified when it was imported; or what reviewers settled."""

    name: str

    @property
    def lexicon(self) -> Lexicon | None:
        """The words learnt from it; None where it is too small to learn from."""

    def recall(self, values: Sequence[str]) -> dict[str, Remembered]:
        """What is remembered of these turns."""


@dataclass(slots=True)
class TurnResult:
    """What became of one turn's text."""

    target: str | None = None
    translator: str | None = None
    codes: list[str] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)  # (translator, code), one per failed attempt
    sentences: list[tuple[str, str]] = field(default_factory=list)  # what travelled and what came back
    paid_chars: int = 0  # that travelled to a translator that is paid, as often as they did


@dataclass(frozen=True, slots=True)
class Translated:
    """A row with what became of each turn; ``error`` is the code of the first turn that failed, or None."""

    row: Conversation
    turns: list[TurnResult]
    error: str | None
    message: str | None


def translate_rows(
    rows: Sequence[Conversation],
    engines: Sequence[Engine],
    *,
    job: str,
    languages: tuple[str, str],
    unit: Unit = "sentence",
    memories: Sequence[Memory] = (),
    again: frozenset[int] = frozenset(),
    forcing: str = "",
) -> list[Translated]:
    """Translate rows; each comes back, delivered or refused.

    Args:
        rows: The rows of one chunk.
        engines: Translators in the order in which they are tried.
        job: Who asks, for the journal.
        languages: Source and target language, for the checks.
        unit: What travels on a line of its own.
        memories: Existing translations to take good turns from; the first that has one stands.
        again: Rows to ask again although the journal knows the answer: those that were refused before.
        forcing: Name of the occasion for that: what was asked on this very occasion is not asked again.

    Returns:
        One Translated per row, in order.

    Raises:
        TransientError: A service does not answer; try the chunk again.
        PermanentError: A service does not serve us.
    """
    values: dict[str, int] = {}  # each with the row in which it stands first
    for row in rows:
        for turn in row.turns:
            values.setdefault(turn.value, row.row)
    fresh = {turn.value for row in rows if row.row in again for turn in row.turns}
    results = {value: TurnResult() for value in values}
    remembered = [(memory.name, *item) for memory in memories for item in memory.recall(list(values)).items()]
    for name, value, known in remembered:
        if results[value].target is None and not known.flagged:
            _settle(results[value], known.text, name, verify_turn(value, known.text))
    for engine in engines:
        good: dict[str, dict[str, str]] = {value: {} for value in values}
        # As the chunk's unit says, then each sentence alone; what was refused before once more, when told to.
        for attempt, is_fresh in ((0, False), (1, False), (0, True), (1, True)):
            missing = {
                value: row
                for value, row in values.items()
                if results[value].target is None
                and (value in fresh or not is_fresh)
                # Nothing to gain where the service refuses the very sentence.
                and not (attempt == 1 and unit == "sentence" and results[value].failures[-1][1] == REFUSED)
            }
            if missing:
                ask = partial(engine.ask, job=job, attempt=attempt, fresh=forcing if is_fresh else "")
                _attempt(missing, "sentence" if attempt else unit, results, good, engine, ask)
    for name, value, known in remembered:
        if results[value].target is None:
            results[value].sentences = []
            _settle(results[value], known.text, name, verify_turn(value, known.text))
    done = [(value, result, result.target) for value, result in results.items() if result.target is not None]
    lexicon = next((memory.lexicon for memory in memories if memory.lexicon), None)
    if lexicon is None:  # learnt from the chunk itself: no state, the same result on every machine
        sentences = [pair for value, result, target in done for pair in result.sentences or [(value, target)]]
        lexicon = Lexicon.learn(sentences[:: len(sentences) // LEARNT + 1])
    checks = Checks(*languages, lexicon)
    for value, result, target in done:
        if result.translator != KEPT:
            result.codes = checks.grade(value, target, result.sentences)
    return [_row(row, [results[turn.value] for turn in row.turns]) for row in rows]


def _attempt(
    values: Mapping[str, int],
    unit: Unit,
    results: Mapping[str, TurnResult],
    good: Mapping[str, dict[str, str]],
    engine: Engine,
    ask: Callable[..., Mapping[str, Answer]],
) -> None:
    """Ask what has no good answer yet, and take the turns that pass.

    Args:
        values: The turns that are open, each with its row.
        unit: How they are cut.
        results: What becomes of each turn; written.
        good: For each turn the answers that may stand; written.
        engine: Who is asked.
        ask: How.
    """
    spans = {value: cut(value, unit) for value in values}
    asked = {value: texts(cut_value) for value, cut_value in spans.items()}
    # A turn that fails as a whole, although each answer may stand, is asked again as a whole.
    wanted = {value: [text for text in some if text not in good[value]] or some for value, some in asked.items()}
    rows: dict[str, int] = {}
    for value, row in values.items():
        for text in wanted[value]:
            rows.setdefault(text, row)
    starts = {row: text for text, row in reversed(rows.items())}  # of each row the first text
    answers = ask(rows, starts=frozenset(starts.values()))
    for value, cut_value in spans.items():
        results[value].paid_chars += engine.paid * sum(map(len, wanted[value]))
        given = {**good[value], **{text: answers[text].text or "" for text in wanted[value]}}
        faults: dict[str, str] = {}
        for text in wanted[value]:
            # An empty or echoed sentence is a fault even where its line still has words.
            codes = [answers[text].refusal] if answers[text].refusal else verify_segment(text, given[text])
            if codes:
                faults[text] = str(codes[0])
            else:
                good[value][text] = given[text]
        if faults:
            results[value].failures.append((engine.name, next(iter(faults.values()))))
        else:
            results[value].sentences = [(text, given[text]) for text in asked[value]] if unit == "sentence" else []
            target = join(cut_value, given)
            _settle(results[value], target, engine.name if asked[value] else KEPT, verify_frame(value, target))


def _settle(result: TurnResult, target: str, translator: str, codes: Sequence[str]) -> None:
    """Take a translation that has no fault; else remember the first one."""
    if codes:
        result.failures.append((translator, codes[0]))
    else:
        result.target, result.translator = target, translator


def _row(row: Conversation, turns: list[TurnResult]) -> Translated:
    for number, turn in enumerate(turns):
        if turn.target is None:
            tried = ", ".join(f"{translator}: {code}" for translator, code in turn.failures)
            message = (
                f"Row {row.row}, turn {number} has no good translation ({tried}). `force` with `chunks` asks again."
            )
            return Translated(row, turns, turn.failures[-1][1], message)
    return Translated(row, turns, None, None)


def to_table(translated: Sequence[Translated], costs: Mapping[int, float]) -> pa.Table:
    """Lay out a chunk. Delivered and refused rows stand in it alike; ``costs`` are in US dollars, by row."""
    rows = [item.row for item in translated]
    return pa.table(
        {
            "row": [row.row for row in rows],
            "id": [row.id for row in rows],
            "image": [row.image for row in rows],
            "conversations": [_turns(row) for row in rows],
            "extra": [row.extra for row in rows],
            "translated": [_translated_turns(item) for item in translated],
            "translator": [[turn.translator for turn in item.turns] for item in translated],
            "checks": [sorted({code for turn in item.turns for code in turn.codes}) for item in translated],
            "turn_checks": [[turn.codes for turn in item.turns] for item in translated],
            "error": [item.error for item in translated],
            "cost_usd": [costs[row.row] for row in rows],
            "message": [item.message for item in translated],
            "record": [None if item.error else record(item) for item in translated],
        },
        schema=TRANSLATIONS.columns,
    )


def shares(translated: Sequence[Translated], cost_usd: float) -> dict[int, float]:
    """What the requests of a chunk have cost, divided among its rows.

    A row's share goes by the characters that travelled for it to a translator that is paid; a line of several rows counts
    in each, and where nothing travelled all shares are equal.

    Returns:
        US dollars by row; their sum is ``cost_usd``.
    """
    chars = [sum(turn.paid_chars for turn in item.turns) for item in translated]
    parts = list(accumulate(chars if any(chars) else [1] * len(chars), initial=0))
    ends = [cost_usd * part / parts[-1] for part in parts] if translated else []
    return {item.row.row: end - start for item, (start, end) in zip(translated, pairwise(ends), strict=True)}


def from_table(table: pa.Table) -> list[Conversation]:
    """Read rows back from a job's ``rows.parquet``."""
    return [
        Conversation(
            item["row"],
            item["id"],
            item["image"],
            tuple(Turn(turn["from"], turn["value"]) for turn in item["conversations"]),
            item["extra"],
        )
        for item in table.to_pylist()
    ]


def rows_table(rows: Sequence[Conversation], schema: pa.Schema) -> pa.Table:
    """Lay out rows of the source."""
    return pa.table(
        {
            "row": [row.row for row in rows],
            "id": [row.id for row in rows],
            "image": [row.image for row in rows],
            "conversations": [_turns(row) for row in rows],
            "extra": [row.extra for row in rows],
        },
        schema=schema,
    )


def record(item: Translated) -> str:
    """The row in LLaVA's own layout, with the translation in place of the source; other fields as they were."""
    row = item.row
    turns = _translated_turns(item)
    fields: dict[str, object] = {}
    if row.id is not None:
        fields["id"] = row.id
    if row.image is not None:
        fields["image"] = row.image
    extra = json.loads(row.extra) if row.extra else {}
    for turn, more in zip(turns, extra.pop("conversations", [{}] * len(turns)), strict=True):
        turn.update(more)
    return json.dumps({**fields, "conversations": turns, **extra}, ensure_ascii=False)


def _translated_turns(item: Translated) -> list[dict[str, object]]:
    return [
        {"from": turn.role, "value": result.target} for turn, result in zip(item.row.turns, item.turns, strict=True)
    ]


def _turns(row: Conversation) -> list[dict[str, object]]:
    return [{"from": turn.role, "value": turn.value} for turn in row.turns]
