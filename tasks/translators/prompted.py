"""Texts through the journal, then through a chat: packs of whole conversations, keyed answers.

Like ``packing.py``, which has a pace and a purse of its own; here both are the chat layer's::

    40 texts of 3 conversations  ->  the journal has 8 of them  ->  one question with 32 lines, in 3 conversations
                                 ->  the chat's engine: paced, paid under the cap
                                 ->  its reply, its cost and 32 answers into the journal, in one transaction
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from tasks.chat.asker import Asker
from tasks.chat.estimate import Rates, Work
from tasks.chat.prices import Prices
from tasks.chat.protocol import REFUSED as REFUSED_QUESTION
from tasks.chat.protocol import Account, Question, Reply
from tasks.remote.errors import Misaligned
from tasks.remote.journal import REFUSED, UNANSWERED, Answer, Journal
from tasks.remote.loop import run
from tasks.remote.once import Claims, Once
from tasks.translators.packing import packs, questions
from tasks.translators.protocol import Limits, Prompted

_KEY_CHARS = 9  # of a line's key, quotes and comma in a reply
# docs/decisions.md, "Mistral as a translator": 444,000 and 441,000 tokens per 1,000 rows, over the characters counted here.
RATES = Rates(
    0.23,
    0.27,
    "Mistral's tokenizer Tekken (mistral-common 1.13.1, 240911) on 3,000 English rows and their recorded Spanish; another "
    "language or a newer model may count otherwise",
)


@dataclass(slots=True)
class _Asking:
    """What one call of ``PromptedAsker.ask`` asks, and the first error that ends it."""

    account: Account
    attempt: int
    fresh: str
    starts: Collection[str]
    keys: dict[str, bytes]
    futures: dict[bytes, asyncio.Future[Answer]]
    failure: BaseException | None = None


def conversations_of(pack: Sequence[str], starts: Collection[str]) -> list[list[str]]:
    """The texts of a request, those of a conversation together."""
    conversations: list[list[str]] = [[]]
    for text in pack:
        if text in starts and conversations[-1]:
            conversations.append([])
        conversations[-1].append(text)
    return conversations


class PromptedAsker:
    """Asks one translator that is a prompt, for all chunks of the process.

    Args:
        translator: The prompt.
        engine: Asks its questions; closed with this.
        journal: Where answers are kept.
        source: Language of the texts.
        target: Language to translate into.
        cap_usd: What a job may cost in all, over all its runs; None for no cap.
    """

    paid = True

    def __init__(
        self,
        translator: Prompted,
        engine: Asker,
        journal: Journal,
        source: str,
        target: str,
        cap_usd: float | None = None,
    ) -> None:
        self._translator = translator
        self._engine = engine
        self._once = Once(journal)
        self._languages = (source, target)
        self._cap_usd = cap_usd
        self._threads = ThreadPoolExecutor(translator.limits.at_once, thread_name_prefix="trasvase-prompted")

    @property
    def name(self) -> str:
        """Name and version of the translator."""
        return self._translator.name

    def ask(
        self, texts: Iterable[str], *, job: str, attempt: int = 0, fresh: str = "", starts: Collection[str] = ()
    ) -> dict[str, Answer]:
        """Get an answer for every text; blocks the calling thread.

        Args:
            texts: Single lines. Repeated ones are asked once.
            job: Who asks and pays, with the chunk behind a slash; the cap is for all chunks together.
            attempt: 0, or 1 for a second opinion: each text in a request of its own, under a key of its own.
            fresh: Name of an occasion: ask again what the journal knows, but for what was asked on this very occasion.
            starts: Texts with which a conversation begins.

        Returns:
            For each distinct text an Answer: the translation, or ``refused`` or ``unanswered``.

        Raises:
            TransientError: The service does not answer; what came before is in the journal.
            PermanentError: The service does not serve us at all.
            BudgetReached: The next question could cost more than is left; what came before is in the journal.
        """
        account = Account(job, (job.partition("/")[0],), self._cap_usd)
        return run(self._ask(dict.fromkeys(texts), account, attempt, fresh, frozenset(starts)))

    def close(self) -> None:
        """Let go of the chat and the threads."""
        self._engine.close()
        self._threads.shutdown()
        self._once.close()

    async def _ask(
        self, texts: Collection[str], account: Account, attempt: int, fresh: str, starts: Collection[str]
    ) -> dict[str, Answer]:
        keys = questions(self.name, *self._languages, attempt, texts)
        limits = self._translator.limits if attempt == 0 else Limits(max_items=1)

        async def ask(claims: Claims) -> None:
            mine = {text: key for text, key in keys.items() if key in claims.futures}
            asking = _Asking(account, attempt, fresh, starts, mine, claims.futures)
            missing = [text for text, key in mine.items() if key not in claims.known]
            # After a failure no new question is sent, but those under way are waited for: their answers are paid.
            sent = [self._ask_pack(pack, asking) for pack in packs(missing, limits, starts)]
            for error in await asyncio.gather(*sent, return_exceptions=True):
                if isinstance(error, BaseException):
                    raise asking.failure or error

        answers = await self._once.answers(keys.values(), fresh, ask)
        return {text: answers[key] for text, key in keys.items()}

    async def _ask_pack(self, pack: Sequence[str], asking: _Asking) -> None:
        if asking.failure is not None:
            raise asking.failure
        try:
            given = await self._translated(pack, asking)
        except BaseException as error:
            asking.failure = asking.failure or error
            raise
        if not given:
            await self._ask_pack(pack[: len(pack) // 2], asking)
            await self._ask_pack(pack[len(pack) // 2 :], asking)
            return
        for text, answer in given.items():
            asking.futures[asking.keys[text]].set_result(answer)

    async def _translated(self, pack: Sequence[str], asking: _Asking) -> dict[str, Answer]:
        """An answer for each text, on the disk unless another day may bring a better one; none where halves will tell."""
        given: dict[str, Answer] = {}

        def kept(_: Question, reply: Reply) -> dict[bytes, Answer]:
            # With the reply that was paid: packs may be cut otherwise next time, and then only lines are found.
            given.update(self._read(pack, reply))
            return {asking.keys[text]: answer for text, answer in given.items() if answer.refusal != UNANSWERED}

        question = self._translator.question(conversations_of(pack, asking.starts), asking.attempt)
        ask = partial(self._engine.ask, [question], account=asking.account, fresh=asking.fresh, besides=kept)
        (reply,) = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        if not given and (known := kept(question, reply)):  # the journal had the reply already
            await self._once.put(known, [], asking.fresh)
        return given

    def _read(self, pack: Sequence[str], reply: Reply) -> dict[str, Answer]:
        """What a reply says for each text; nothing where it cannot be laid beside them and a smaller pack may do."""
        if reply.text is not None:
            with suppress(Misaligned):
                return dict(zip(pack, map(Answer, self._translator.read(reply.text, len(pack))), strict=True))
        if len(pack) > 1:
            return {}
        return {pack[0]: Answer(None, REFUSED if reply.refusal == REFUSED_QUESTION else UNANSWERED)}


class CountingAsker:
    """Asks nothing, and counts what a ``PromptedAsker`` would ask.

    Args:
        translator: The prompt.
        journal: What it knows costs nothing.
        prices: What models cost.
        source: Language of the texts.
        target: Language to translate into.

    Attributes:
        work: What was counted so far; None where nothing was.
    """

    paid = True

    def __init__(self, translator: Prompted, journal: Journal, prices: Prices, source: str, target: str) -> None:
        self._translator = translator
        self._journal = journal
        self._price = prices.of(translator.model)
        self._languages = (source, target)
        self._counted: set[bytes] = set()
        self.work: Work | None = None

    @property
    def name(self) -> str:
        """Name and version of the translator."""
        return self._translator.name

    def ask(
        self, texts: Iterable[str], *, job: str, attempt: int = 0, fresh: str = "", starts: Collection[str] = ()
    ) -> dict[str, Answer]:
        """What the journal knows; the rest is counted, each text once, and stays unanswered.

        Args:
            texts: As a ``PromptedAsker`` gets them.
            job: Of no matter here.
            attempt: A second opinion is not counted: nobody knows yet which texts will need one.
            fresh: The same.
            starts: Texts with which a conversation begins.
        """
        keys = questions(self.name, *self._languages, 0, dict.fromkeys(texts))
        known = self._journal.get(list(keys.values()))
        missing = [text for text, key in keys.items() if key not in known and key not in self._counted]
        if attempt == 0 and not fresh:
            self._counted.update(keys[text] for text in missing)
            for pack in packs(missing, self._translator.limits, starts):
                self._count(self._translator.question(conversations_of(pack, starts), 0), pack)
        return {text: known.get(key, Answer(None, UNANSWERED)) for text, key in keys.items()}

    def _count(self, question: Question, pack: Sequence[str]) -> None:
        # A line comes back about as long as it went, with its key and quotes.
        reply = sum(map(len, pack)) + _KEY_CHARS * len(pack)
        one = Work(question.model, question.prompt, 1, question.chars, reply, self._price.highest(question))
        self.work = one if self.work is None else self.work + one
