"""What questions would cost, before any of them is asked: calls, tokens, dollars, time. Nothing is sent.

::

    calls  model               prompt           prompt tokens  reply tokens     USD  USD at most
      412  mistral-small-2603  extract-jokes/1      1,372,000       271,000  0.3684       1.3720

Tokens are counted from characters: with the tokens that the service billed for answers in the journal where there are some
of the same prompt, else with those that one of Mistral's tokenizers made of recorded texts (``TEKKEN``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tasks.chat.prices import Prices
from tasks.chat.protocol import Limits, Question
from tasks.chat.replies import key_of_question, to_reply
from tasks.pages.words import duration
from tasks.remote.journal import Journal


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens of a character.

    Args:
        prompt: Of a prompt, instructions included.
        reply: Of a reply.
        source: Where they come from.
        replies: Tokens of a whole reply by prompt, where they were billed; they go before characters.
    """

    prompt: float
    reply: float
    source: str
    replies: Mapping[str, float] = field(default_factory=dict)


# docs/decisions.md, "Mistral: what a run would cost".
TEKKEN = Rates(
    0.31,
    0.31,
    "Mistral's tokenizer Tekken (mistral-common 1.13.1, 240911): 0.306 tokens per character of 111 Spanish transcripts "
    "with a mark per segment, 0.306 of 1,500 recorded jokes as JSON; a newer model may count otherwise",
)


@dataclass(frozen=True, slots=True)
class Work:
    """Calls of one kind.

    Args:
        model: Who is asked.
        prompt: Name and version of the prompt.
        calls: How many.
        prompt_chars: Of all their prompts.
        reply_chars: Expected of all their replies.
        highest_usd: What they cost online with the longest replies that are let through; a batch has to find its share
            of that under its cap.
    """

    model: str
    prompt: str
    calls: int
    prompt_chars: float
    reply_chars: float
    highest_usd: float

    def __add__(self, other: Work) -> Work:
        """Both together: work of the same kind."""
        return replace(
            self,
            calls=self.calls + other.calls,
            prompt_chars=self.prompt_chars + other.prompt_chars,
            reply_chars=self.reply_chars + other.reply_chars,
            highest_usd=self.highest_usd + other.highest_usd,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """What one kind of calls would cost.

    Args:
        model: Who is asked.
        prompt: Name and version of the prompt.
        calls: How many.
        prompt_tokens: Of all their prompts.
        reply_tokens: Of all their replies.
        usd: What they would cost.
        highest_usd: With the longest replies that are let through, none asked twice.
        price: What the model costs, and who says so.
    """

    model: str
    prompt: str
    calls: int
    prompt_tokens: int
    reply_tokens: int
    usd: float
    highest_usd: float
    price: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What some work would cost.

    Args:
        lines: By kind of call.
        seconds: How long it would take at the account's limits; None where they are not known, and for batches.
        tokens_from: Where tokens per character come from.
        time_from: What the time follows from.
    """

    lines: tuple[Line, ...]
    seconds: float | None
    tokens_from: str
    time_from: str

    @property
    def calls(self) -> int:
        """Of all kinds."""
        return sum(line.calls for line in self.lines)

    @property
    def prompt_tokens(self) -> int:
        """Of all kinds."""
        return sum(line.prompt_tokens for line in self.lines)

    @property
    def completion_tokens(self) -> int:
        """Of all kinds."""
        return sum(line.reply_tokens for line in self.lines)

    @property
    def usd(self) -> float:
        """Of all kinds."""
        return sum(line.usd for line in self.lines)

    @property
    def highest_usd(self) -> float:
        """Of all kinds."""
        return sum(line.highest_usd for line in self.lines)

    def __str__(self) -> str:
        time = f"about {duration(self.seconds)}" if self.seconds is not None else "time not known"
        return (
            f"{self.calls:,} calls, {self.prompt_tokens:,} tokens of prompts, {self.completion_tokens:,} of replies: about "
            f"{self.usd:.4f} USD, and {self.highest_usd:.4f} USD with the longest replies that are let through; {time} "
            f"({self.time_from}). Tokens: {self.tokens_from}."
        )

    def rows(self) -> list[dict[str, str | int]]:
        """As a table."""
        return [
            {
                "calls": line.calls,
                "model": line.model,
                "prompt": line.prompt,
                "prompt tokens": line.prompt_tokens,
                "reply tokens": line.reply_tokens,
                "USD": f"{line.usd:.4f}",
                "USD at most": f"{line.highest_usd:.4f}",
                "price": line.price,
            }
            for line in self.lines
        ]


def work_of(questions: Iterable[Question], prices: Prices, reply_chars: Mapping[str, float]) -> list[Work]:
    """Count questions by model and prompt.

    Args:
        questions: Those that would be asked, each once; see ``unasked``.
        prices: What their models cost.
        reply_chars: Characters expected of one reply, by prompt.

    Raises:
        PriceUnknown: A model has no price.
    """
    kinds: dict[tuple[str, str], list[Question]] = defaultdict(list)
    for question in questions:
        kinds[question.model, question.prompt].append(question)
    return [
        Work(
            model,
            prompt,
            len(some),
            sum(question.chars for question in some),
            len(some) * reply_chars[prompt],
            sum(prices.of(model).highest(question) for question in some),
        )
        for (model, prompt), some in kinds.items()
    ]


def unasked(questions: Iterable[Question], chat: str, journal: Journal) -> list[Question]:
    """Those that the journal does not know, each once: the others cost nothing any more."""
    asked = {key_of_question(chat, question): question for question in questions}
    known = journal.get(list(asked))
    return [question for key, question in asked.items() if key not in known]


def billed_rates(questions: Iterable[Question], chat: str, journal: Journal, otherwise: Rates = TEKKEN) -> Rates:
    """Tokens as the service counted them for those of the questions that the journal knows.

    Args:
        questions: Of the work, asked or not.
        chat: Name of the service.
        journal: Where answers are.
        otherwise: Where it knows none.
    """
    asked = {key_of_question(chat, question): question for question in questions}
    chars = tokens = answers = 0
    replies: dict[str, list[int]] = defaultdict(list)
    for key, answer in journal.get(list(asked)).items():
        reply, question = to_reply(answer), asked[key]
        if reply.text is not None and reply.prompt_tokens:
            chars += question.chars
            tokens += reply.prompt_tokens
            answers += 1
            replies[question.prompt].append(reply.completion_tokens)
    if not answers:
        return otherwise
    source = f"as billed for {answers:,} answers in the journal; replies to other prompts: {otherwise.source}"
    means = {prompt: sum(some) / len(some) for prompt, some in replies.items()}
    return Rates(tokens / chars, otherwise.reply, source, means)


def estimate(
    work: Sequence[Work],
    prices: Prices,
    rates: Rates = TEKKEN,
    limits: Limits | None = None,
    seconds_each: float | None = None,
    batch: bool = False,
) -> Estimate:
    """What some work would cost, and how long it would take.

    Args:
        work: By kind of call.
        prices: What the models cost.
        rates: Tokens of a character.
        limits: How much the account may ask, as far as it is set.
        seconds_each: How long one call takes, where that was measured.
        batch: Whether it would go in batches.

    Raises:
        PriceUnknown: A model has no price.
    """
    lines = []
    for some in work:
        price = prices.of(some.model)
        prompt_tokens = round(some.prompt_chars * rates.prompt)
        each = rates.replies.get(some.prompt)
        reply_tokens = round(some.reply_chars * rates.reply if each is None else some.calls * each)
        verified = "" if price.verified else ", not verified"
        lines.append(
            Line(
                some.model,
                some.prompt,
                some.calls,
                prompt_tokens,
                reply_tokens,
                price.cost(prompt_tokens, reply_tokens, batch),
                some.highest_usd * (price.batch_share if batch else 1.0),
                f"{price.input_usd:g} / {price.output_usd:g} USD per million tokens, {price.as_of}{verified}",
            )
        )
    seconds, time_from = _time(lines, limits or Limits(), seconds_each, batch)
    return Estimate(tuple(lines), seconds, rates.source, time_from)


def _time(lines: Sequence[Line], limits: Limits, seconds_each: float | None, batch: bool) -> tuple[float | None, str]:
    """How long it takes, and which limit says so."""
    if batch:
        return None, "batches: when the service gets to them, within 24 hours each"
    calls, tokens = sum(line.calls for line in lines), sum(line.prompt_tokens + line.reply_tokens for line in lines)
    bounds: list[tuple[float, str]] = []
    if rate := limits.max_rate or limits.rate:
        bounds.append((calls / rate, f"at {rate:g} calls per second"))
    if limits.tokens_per_minute:
        bounds.append((60 * tokens / limits.tokens_per_minute, f"at {limits.tokens_per_minute:,} tokens per minute"))
    if seconds_each is not None:
        told = f"{limits.at_once} calls at once of {seconds_each:.1f} s each, as measured"
        bounds.append((calls * seconds_each / limits.at_once, told))
    if not bounds:
        return None, "the account's limits are learnt with the first answer, or set as TRASVASE_MISTRAL_MAX_RATE"
    return max(bounds)
