"""Questions asked one by one, through the journal.

Equal questions are asked once, whichever chunk asks. What the journal knows is not asked at all. Before a call its
highest cost is written down and held against the cap; after it, the call, its true cost and the answer are on the disk
before the answer is handed out::

    question  ->  journal: not known  ->  hold 0.0031 USD  ->  chat  ->  valid for Question.answer?
              ->  one transaction: answer + call 0.0009 USD - hold   ->  Reply
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from tasks.chat.prices import Prices
from tasks.chat.protocol import (
    REFUSED,
    UNANSWERED,
    UNREADABLE,
    Account,
    BudgetReached,
    Chat,
    Kind,
    Question,
    Reply,
)
from tasks.chat.replies import judge, key_of_question, to_answer, to_reply
from tasks.remote.allowance import Allowance
from tasks.remote.errors import BadAnswer, NoAnswer, TooLarge
from tasks.remote.gate import Gate
from tasks.remote.journal import Answer, Call, Hold, Journal
from tasks.remote.loop import run
from tasks.remote.once import Claims, Once
from tasks.remote.retry import send
from tasks.storage.errors import PermanentError, TransientError

PING = "ping"  # outcome of a call that only asks whether the service answers
FIRST = 3  # calls under way until the first answer has said what the service allows
READINGS = 3  # of one question, while its answers are not the JSON that was asked for; each is paid


def ping_of(question: Question) -> Question:
    """The same question about one word: refused as well, it is the settings that the service refuses."""
    return replace(question, messages=(("user", PING),))


Besides = Callable[[Question, Reply], Mapping[bytes, Answer]]


def nothing(question: Question, reply: Reply) -> Mapping[bytes, Answer]:
    """A reply answers its question and nothing else."""
    return {}


@dataclass(slots=True)
class Asking:
    """What one call of ``Asker.ask`` has claimed, what replies answer besides, and the first error that ends it."""

    account: Account
    fresh: str
    futures: dict[bytes, asyncio.Future[Answer]]
    besides: Besides
    failure: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to be made.

    Args:
        question: With the seed of this attempt.
        asking: What it is for.
        paid: For the question so far.
        key: Of the question as it was asked; None for a ping, whose answer nobody keeps.
        last: Whether this is the last reading: then what cannot be read is the reply.
    """

    question: Question
    asking: Asking
    paid: Reply
    key: bytes | None = None
    last: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """What one call brought."""

    reply: Reply
    answers: dict[bytes, Answer]
    call: Call


class Ended(PermanentError):
    """Another question of the same chunk has failed; its error is the one that is told."""


class Asker:
    """Asks one chat for all chunks of the process; an ``Engine``.

    Args:
        chat: The service.
        journal: Where answers are kept.
        prices: What its models cost.
    """

    def __init__(self, chat: Chat, journal: Journal, prices: Prices) -> None:
        self.chat = chat
        limits = chat.limits
        self._gate = Gate(
            chat.name,
            limits.at_once,
            limits.rate,
            limits.max_rate,
            first=FIRST,
            tokens_per_minute=limits.tokens_per_minute,
        )
        self._journal = journal
        self._prices = prices
        self._once = Once(journal)
        self._serves: set[Kind] = set()  # kinds of questions that were answered
        self._pings: dict[Kind, asyncio.Future[Reply]] = {}
        self._held = 0
        self._settled = asyncio.Event()

    @property
    def name(self) -> str:
        """The chat's name."""
        return self.chat.name

    def ask(
        self,
        questions: Sequence[Question],
        *,
        account: Account,
        fresh: str = "",
        besides: Besides = nothing,
    ) -> list[Reply]:
        """Get a reply to every question; see ``Engine.ask``.

        Args:
            questions: Equal ones are asked once.
            account: Who asks, and what it may cost.
            fresh: See ``Engine.ask``.
            besides: What else a reply answers, by key: kept with it in one transaction. Not called for what the
                journal knows.
        """
        return run(self._ask(questions, account, fresh, besides))

    def close(self) -> None:
        """Let go of the chat and the writing thread."""
        run(self.chat.aclose())
        self._once.close()

    async def _ask(self, questions: Sequence[Question], account: Account, fresh: str, besides: Besides) -> list[Reply]:
        keys = [key_of_question(self.name, question) for question in questions]
        asked = dict(zip(keys, questions, strict=True))

        async def ask(claims: Claims) -> None:
            missing = claims.missing
            for model in {asked[key].model for key in missing}:
                self._prices.of(model)  # unknown: better now than after some were paid
            asking = Asking(account, fresh, claims.futures, besides)
            # After a failure no new call starts, but those under way are waited for: their answers are paid.
            results = await asyncio.gather(
                *(self._ask_one(key, asked[key], asking) for key in missing), return_exceptions=True
            )
            for error in results:
                if isinstance(error, BaseException):
                    raise asking.failure or error

        answers = await self._once.answers(keys, fresh, ask)
        return [to_reply(answers[key]) for key in keys]

    async def _ask_one(self, key: bytes, question: Question, asking: Asking) -> None:
        try:
            answer = await self._answer(key, question, asking)
        except BaseException as error:
            asking.failure = asking.failure or error
            raise
        asking.futures[key].set_result(answer)

    async def _answer(self, key: bytes, question: Question, asking: Asking) -> Answer:
        paid = Reply(None)
        try:
            for reading in count():
                # The same seed would be likely to give the same words again.
                again = replace(question, seed=question.seed + reading) if reading else question
                attempt = Attempt(again, asking, paid, key, last=reading == READINGS - 1)
                made = await send(self._gate, partial(self._one_call, attempt))
                reply = await self._kept(made, asking)
                if key in made.answers:
                    return made.answers[key]
                paid = replace(reply, refusal=None, message="")
        except TooLarge as error:
            if question.kind not in self._serves:  # then it may be a wrong setting, and no fault of the question
                await self._ping(question, asking)
            reply = replace(paid, refusal=REFUSED, message=str(error))
            answer = to_answer(reply)
            await self._once.put({key: answer, **asking.besides(question, reply)}, [], asking.fresh)
        except TransientError as error:
            if asking.failure is not None or not await self._alive(question, asking):
                raise
            # Not kept: another day it may pass.
            answer = to_answer(replace(paid, refusal=UNANSWERED, message=str(error)))
        return answer

    async def _alive(self, question: Question, asking: Asking) -> bool:
        """Whether the service answers something else: then it is this question that it stumbles over.

        Without it an outage would look like unanswered questions.
        """
        try:
            await self._ping(question, asking)
        except Exception:  # noqa: BLE001  # whatever it is: not alive, and the question's own error is the one to tell
            return False
        return True

    async def _ping(self, question: Question, asking: Asking) -> None:
        """Ask with one word, all else as it is; once for all that want to know it at the same time."""
        ping = self._pings.get(question.kind)
        if ping is None:
            ping = asyncio.ensure_future(self._pinged(Attempt(ping_of(question), asking, Reply(None))))
            self._pings[question.kind] = ping
            ping.add_done_callback(lambda _: self._pings.pop(question.kind))
        await asyncio.shield(ping)

    async def _pinged(self, attempt: Attempt) -> Reply:
        return await self._kept(await send(self._gate, partial(self._one_call, attempt), attempts=2), attempt.asking)

    async def _one_call(self, attempt: Attempt) -> Made:
        """One call. What it brought is not kept yet: that needs no place at the gate."""
        question, account = attempt.question, attempt.asking.account
        price = self._prices.of(question.model)
        highest = price.highest(question)
        hold = await self._hold(question, highest, attempt.asking)
        at, started = time.time(), time.perf_counter()

        def call(outcome: str, cost: float) -> Call:
            seconds = time.perf_counter() - started
            return Call(at, account.job, self.name, 1, question.chars, seconds, outcome, cost, hold)

        try:
            completion = await self.chat.complete(question)
        except BaseException as error:
            # The service may have done the work, and nobody saw its bill.
            unseen = isinstance(error, BadAnswer | NoAnswer | asyncio.CancelledError)
            await self._kept(
                Made(Reply(None), {}, call(type(error).__name__, highest if unseen else 0.0)), attempt.asking
            )
            raise
        self._serves.add(question.kind)
        tokens = completion.prompt_tokens + completion.completion_tokens
        self._gate.learn(completion.allowance or Allowance(), tokens)
        cost = price.cost(completion.prompt_tokens, completion.completion_tokens)
        if attempt.key is None:
            return Made(Reply(completion.text), {}, call(PING, cost))
        reply = judge(question, completion, attempt.paid, cost)
        final = reply.refusal != UNREADABLE or attempt.last
        answers = {attempt.key: to_answer(reply), **attempt.asking.besides(question, reply)} if final else {}
        return Made(reply, answers, call(reply.refusal or "answered", cost))

    async def _kept(self, made: Made, asking: Asking) -> Reply:
        """Write a call down, with its answer and in place of its hold, before anybody uses it."""
        try:
            await self._once.put(made.answers, [made.call], asking.fresh)
        finally:
            if made.call.hold is not None:
                self._held -= 1
                self._settled.set()
                self._settled = asyncio.Event()
        return made.reply

    async def _hold(self, question: Question, highest: float, asking: Asking) -> int | None:
        """Write down what the next call can cost at most.

        Where it does not fit under the cap, calls under way are waited for: most cost less than they hold.
        """
        account = asking.account
        hold = Hold(account.job, self.name, highest, account.jobs, account.cap_usd)
        while True:
            if asking.failure is not None:
                raise Ended
            if not highest:
                return None
            settled = self._settled
            held = await self._once.hold(hold)
            if held is not None:
                self._held += 1
                return held
            if not self._held and not settled.is_set():
                raise self._budget_reached(question, highest, account)
            await settled.wait()

    def _budget_reached(self, question: Question, highest: float, account: Account) -> BudgetReached:
        spent = self._journal.spent(account.jobs)
        held = f"{spent.held_usd:.4f} of it for calls that were cut off, or that another run has under way"
        lost = f", {held}" if spent.held_usd else ""
        return BudgetReached(
            f"The budget is reached: {spent.usd:.4f} USD are spent{lost}, and the next question to {question.model} can "
            f"cost {highest:.4f} USD; budget_usd is {account.cap_usd:.4f}. Answers so far are kept. Raise budget_usd and "
            "resume: nothing is paid twice."
        )
