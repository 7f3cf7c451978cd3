"""Questions asked in batches, at half the price: submitted, waited for, collected; no batch is ever submitted twice.

What is on the disk before each step, so that kill -9 may come at any point::

    1,472 questions  ->  journal: 60 known  ->  journal: batch "3f2a…-0" of 1,412 lines, its highest cost held
                     ->  upload  ->  journal: file "0b1c…"
                     ->  create, with the digest as metadata  ->  journal: batch "77e0…"
                     ->  looked at every minute, for hours  ->  "SUCCESS", an output file, an error file
                     ->  500 lines at a time: answers, costs, and that these lines are taken, in one transaction

Killed after "create" and before the journal, the next run finds the digest among the account's batches.
"""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import IO, Any, NamedTuple, Protocol

from tasks.chat.asker import READINGS, ping_of
from tasks.chat.prices import Prices
from tasks.chat.protocol import (
    REFUSED,
    UNANSWERED,
    UNREADABLE,
    Account,
    BudgetReached,
    Completion,
    Engine,
    Kind,
    Question,
    Reply,
)
from tasks.chat.replies import judge, key_of_question, to_answer, to_reply
from tasks.remote.errors import BadAnswer, Throttled, Unreachable
from tasks.remote.gate import Gate
from tasks.remote.journal import Answer, Batch, Call, Journal, Overtaken
from tasks.remote.loop import run
from tasks.remote.once import under
from tasks.remote.retry import send
from tasks.storage.errors import PermanentError, TransientError
from tasks.storage.tables import is_unicode

MAX_LINES = 1_000_000  # of one file, as the service says
MAX_BYTES = 100_000_000  # of one file: what fits into a small machine's memory
SENDINGS = 3  # of a line that the service fails on
FAILED_BATCHES = 2  # with the same lines, until a person has to look
FINDINGS = 3  # of a batch among the account's, before it counts as never created
KEPT_DAYS = 7  # for which a service that knows neither a batch nor its file is taken for another account's
DOWNLOADS = 3  # of a file of answers that comes damaged, until the run gives up
IN_VAIN = 10  # looks at batches in a row that tell nothing, until the run gives up: some minutes
# Any other state counts as running: a batch that has not ended must not be submitted again.
ENDED = frozenset({"SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED", "GONE"})
_SLICE = 500  # lines taken in one transaction
_REFUSALS = frozenset({400, 413, 422})  # status of a line that the service will never take


class BatchFailed(PermanentError):
    """The service ended batches without answering their lines, again and again."""


class BatchUnderWay(PermanentError):
    """A batch still works on questions that were about to be asked one by one."""


class Job(NamedTuple):
    """A batch as the service sees it.

    Args:
        id: At the service.
        state: Its own word, such as ``RUNNING`` or ``TIMEOUT_EXCEEDED``.
        files: Of answers and of errors, those that there are.
        answered: Lines that it answered, by its own count; all that there may be where it no longer says.
        finished: Lines that it is done with.
        message: What it says went wrong, if anything.
    """

    id: str
    state: str
    files: tuple[str, ...] = ()
    answered: int = 0
    finished: int = 0
    message: str = ""


class Batches(Protocol):
    """A service's files and batches. Every method but the last two raises what ``Chat.complete`` does."""

    @property
    def name(self) -> str:
        """The chat's name: what was asked online is not asked again in a batch."""

    async def upload(self, name: str, lines: bytes) -> str:
        """Store a file of lines; its id."""

    async def create(self, file_id: str, model: str, digest: str) -> Job:
        """Submit a file for one model, marked with a digest."""

    async def find(self, digest: str, since: float) -> Job | None:
        """The account's batch with this mark, created after a time (seconds since 1970)."""

    async def job(self, batch_id: str) -> Job:
        """How a batch stands."""

    async def download(self, file_id: str, into: IO[bytes]) -> bool:
        """Write a file's content over what is in one of ours; False and nothing where the service no longer has it."""

    async def delete(self, file_id: str) -> None:
        """Delete a file, if it is still there."""

    async def has(self, file_id: str) -> bool:
        """Whether the account has a file."""

    def body(self, question: Question) -> Mapping[str, Any]:
        """What would be sent for a question online."""

    def completion(self, body: Any) -> Completion:
        """What would come back online.

        Raises:
            BadAnswer: It is none.
        """


@dataclass(slots=True)
class _Open:
    """A question that waits for its reply."""

    question: Question
    paid: Reply = field(default_factory=lambda: Reply(None))
    readings: int = 0  # answers that could not be read
    failures: int = 0  # lines that the service failed on
    refused: bool = False  # which is its last word where it answers others of its kind
    failed_batches: int = 0  # that ended without a word on its line
    message: str = ""


class BatchAsker:
    """Asks one chat in batches; an ``Engine``. One call at a time: others wait for it.

    Args:
        batches: The service.
        journal: Where answers and batches are kept.
        prices: What its models cost.
        tell: Told how a batch goes, every now and then.
        first_pause_seconds: Between two looks at a batch; each pause is longer than the one before.
        longest_pause_seconds: Between two looks.
        settling_seconds: Between the times that a batch whose creation got no answer is looked for.
    """

    def __init__(
        self,
        batches: Batches,
        journal: Journal,
        prices: Prices,
        tell: Callable[[str], object] = lambda _: None,
        first_pause_seconds: float = 5.0,
        longest_pause_seconds: float = 60.0,
        settling_seconds: float = 10.0,
    ) -> None:
        self._batches = batches
        self._journal = journal
        self._prices = prices
        self._tell = tell
        self._pauses = (first_pause_seconds, longest_pause_seconds)
        self._settling_seconds = settling_seconds
        self._gate = Gate(f"{batches.name} batches", 2)
        self._one_at_a_time = threading.Lock()
        self._serves: set[Kind] = set()  # kinds of questions that were answered since `ask` began
        self._fresh = ""  # as `ask` was told

    @property
    def name(self) -> str:
        """The chat's name."""
        return self._batches.name

    def ask(self, questions: Sequence[Question], *, account: Account, fresh: str = "") -> list[Reply]:
        """Get a reply to every question; blocks for as long as the service takes, which may be a day.

        Raises:
            BudgetReached: The batches could cost more than is left; none of them was submitted.
            BatchFailed: The service ended the batches twice.
            TransientError: It does not answer, or fails on every line.
            PermanentError: It does not serve us.
        """
        keys = [key_of_question(self.name, question) for question in questions]
        with self._one_at_a_time:
            self._serves.clear()
            self._fresh = fresh
            left = self._missing(questions)
            given = self._refused(left)
            while left:
                self._collect_open(left, given)
                self._give_up(left, given)
                if left:
                    self._add_pings(left)
                    self._submit(left, account)
        known = self._journal.get([key for key in keys if key not in given])
        return [given[key] if key in given else to_reply(known[key]) for key in keys]

    def settle(self, questions: Sequence[Question]) -> None:
        """Take what batches of earlier runs hold for questions that are about to be asked one by one.

        Raises:
            BatchUnderWay: One still works on some of them: they would be paid for twice.
            PermanentError: One was submitted with another account's key.
        """
        with self._one_at_a_time:
            self._serves.clear()
            self._fresh = ""
            left = self._missing(questions)
            for batch in self._open(left):
                job = self._look(batch)
                if job.state not in ENDED or (job.state == "SUCCESS" and _is_without_files(job)):
                    raise BatchUnderWay(
                        f"Batch {job.id} still works on some of these questions ({job.state}, {job.finished:,} of "
                        f"{len(batch.keys):,} done). Asked one by one they would be paid for twice. Run with mode=batch, "
                        "which waits for it and collects, or cancel it at the service and run again: what it has answered "
                        "by then is taken."
                    )
                self._collect(batch, job, left, {})

    def _missing(self, questions: Sequence[Question]) -> dict[bytes, _Open]:
        """What has to be asked, by key."""
        asked = {key_of_question(self.name, question): question for question in questions}
        stored = {under(self._fresh, key): key for key in asked}
        known = {stored[key] for key in self._journal.get(list(stored))}
        for model in {question.model for key, question in asked.items() if key not in known}:
            self._prices.of(model)  # unknown: better now than after some were submitted
        return {key: _Open(question) for key, question in asked.items() if key not in known}

    def _stored(self, replies: Mapping[bytes, Reply]) -> dict[bytes, Answer]:
        answers = {key: to_answer(reply) for key, reply in replies.items()}
        return answers | {under(self._fresh, key): answer for key, answer in answers.items()}

    def _refused(self, left: dict[bytes, _Open]) -> dict[bytes, Reply]:
        """Take out what no file of lines may hold: one such line could cost its whole batch."""
        refused = {}
        for key, waiting in list(left.items()):
            if not all(is_unicode(content) for _, content in waiting.question.messages):
                message = "A message holds half of a character (a lone surrogate), which no JSON may: mend the source."
                refused[key] = Reply(None, REFUSED, message)
                del left[key]
        self._journal.put(self._stored(refused))
        return refused

    def _submit(self, left: Mapping[bytes, _Open], account: Account) -> None:
        """Send what is left: one batch for each model, more where a file would be too large."""
        new = [self._intent(model, lines, left, account) for model, lines in self._files(left)]
        batches = [batch for _, batch, _ in new]
        try:
            fits = self._journal.intend(batches, account.jobs, account.cap_usd)
        except Overtaken:
            return  # another run's batch is waited for, and its lines are taken
        if not fits:
            raise self._budget_reached(batches, account)
        unsent = {batch.digest for batch in batches}
        try:
            for model, batch, content in new:
                upload = partial(self._batches.upload, f"trasvase-{batch.digest}.jsonl", content)
                file_id = run(send(self._gate, upload))
                self._journal.note_batch_file(batch.digest, file_id)
                self._tell(f"Submitting a batch of {len(batch.keys):,} questions to {model}.")
                creation = _Creation(self._batches, batch, file_id, model, self._settling_seconds)
                try:
                    job = run(send(self._gate, creation.create))
                except Exception:
                    if creation.answer_lost:  # the service may have it: the next run looks
                        unsent.remove(batch.digest)
                    raise
                unsent.remove(batch.digest)
                self._journal.note_batch(batch.digest, job.id)
        except Exception:
            for digest in unsent:
                self._journal.forget_batch(digest)
            raise

    def _files(self, left: Mapping[bytes, _Open]) -> Iterator[tuple[str, dict[bytes, bytes]]]:
        """Models, and lines by key that go into one file."""
        unsent = {key: waiting for key, waiting in left.items() if not waiting.refused}
        for model in sorted({waiting.question.model for waiting in unsent.values()}):
            lines: dict[bytes, bytes] = {}
            size = 0
            for key, waiting in unsent.items():
                if waiting.question.model != model:
                    continue
                # Where an answer could not be read, the same seed would be likely to give the same words again.
                asked = replace(waiting.question, seed=waiting.question.seed + waiting.readings)
                line = json.dumps({"custom_id": key.hex(), "body": self._batches.body(asked)}).encode() + b"\n"
                if lines and (len(lines) >= MAX_LINES or size + len(line) > MAX_BYTES):
                    yield model, lines
                    lines, size = {}, 0
                lines[key] = line
                size += len(line)
            yield model, lines

    def _intent(
        self, model: str, lines: Mapping[bytes, bytes], left: Mapping[bytes, _Open], account: Account
    ) -> tuple[str, Batch, bytes]:
        content = b"".join(lines.values())
        digest = blake2b(content, key=self.name.encode()[:64], digest_size=16).hexdigest()
        price = self._prices.of(model)
        highest = sum(price.highest(left[key].question, batch=True) for key in lines)
        times = self._journal.times_sent(digest)
        batch = Batch(f"{digest}-{times}", self.name, account.job, time.time(), tuple(lines), highest)
        return model, batch, content

    def _collect_open(self, left: dict[bytes, _Open], given: dict[bytes, Reply]) -> None:
        """Wait for the batches that hold any of these questions, and take their lines."""
        waiting = self._open(left)
        pause, longest = self._pauses
        in_vain = 0
        while waiting:
            for batch in list(waiting):
                try:
                    job = self._look(batch)
                except TransientError:
                    in_vain += 1
                    if in_vain >= IN_VAIN:
                        raise
                    continue
                self._tell(f"Batch {job.id}: {job.state}, {job.finished:,} of {len(batch.keys):,} questions done.")
                if _is_without_files(job) and in_vain < IN_VAIN:
                    in_vain += 1
                elif job.state in ENDED:
                    self._collect(batch, job, left, given)
                    waiting.remove(batch)
                    in_vain = 0
                else:
                    in_vain = 0
            if waiting:
                time.sleep(pause)
                pause = min(1.5 * pause, longest)

    def _open(self, left: Mapping[bytes, _Open]) -> list[Batch]:
        """The batches that hold any of these questions."""
        there = [self._submitted(batch) for batch in self._journal.open_batches(self.name) if _holds(batch, left)]
        return [batch for batch in there if batch is not None]

    def _look(self, batch: Batch) -> Job:
        """How a batch stands.

        Raises:
            PermanentError: The account that is asked now is not the one that submitted it.
        """
        job = run(send(self._gate, partial(self._batches.job, batch.batch_id)))
        if job.state != "GONE" or time.time() - batch.at > KEPT_DAYS * 86_400:
            return job
        if not run(send(self._gate, partial(self._batches.has, batch.file_id))):
            raise PermanentError(
                f"{self.name} knows neither batch {batch.batch_id} nor the file that it was made of, so it was submitted "
                "with the key of another account. Set that key and run again: it is collected. Submitted anew it would "
                f"be paid for twice. {KEPT_DAYS} days after its submission it counts as lost."
            )
        return job

    def _submitted(self, batch: Batch) -> Batch | None:
        """The batch with its id at the service; None, and forgotten, where it was never submitted."""
        if batch.batch_id:
            return batch
        if batch.file_id:  # the run that uploaded it was killed, or lost the answer
            found = run(send(self._gate, partial(_find, self._batches, batch, self._settling_seconds)))
            if found:
                self._journal.note_batch(batch.digest, found.id)
                return replace(batch, batch_id=found.id)
            run(send(self._gate, partial(self._batches.delete, batch.file_id)))
        self._journal.forget_batch(batch.digest)
        return None

    def _collect(self, batch: Batch, job: Job, left: dict[bytes, _Open], given: dict[bytes, Reply]) -> None:
        """Take a batch's lines: answers into the journal, failed ones counted."""
        places = {key: place for place, key in enumerate(batch.keys) if key in left and not batch.taken[place]}
        answered = self._read_files(batch, job, places, left, given)
        taking = _Taking(batch, left, self._batches, self._prices, self._serves)
        # Answered, by its own count, and not in its files: it may be on the bill.
        unseen = min(max(job.answered - answered, 0), len(places))
        taking.miss(job, places, batch.highest_usd * unseen / len(batch.keys))
        self._take(taking, given)

    def _read_files(
        self, batch: Batch, job: Job, places: dict[bytes, int], left: dict[bytes, _Open], given: dict[bytes, Reply]
    ) -> int:
        """Take the lines of a batch's files; how many of them are answers.

        Raises:
            Unreachable: They come damaged every time. What they lack is on the bill, so it is not submitted again.
        """
        for _ in range(DOWNLOADS):
            answered, torn, there = 0, list[bytes](), bool(job.files)
            for file_id in job.files:
                with tempfile.TemporaryFile(dir=self._journal.path.parent) as file:
                    there &= run(send(self._gate, partial(self._batches.download, file_id, file)))
                    file.seek(0)
                    while some := list(islice(file, _SLICE)):
                        taking = _Taking(batch, left, self._batches, self._prices, self._serves)
                        answered += sum(taking.read(line, places) for line in some)
                        torn += taking.torn
                        self._take(taking, given)
            # A file that was cut off between two lines looks whole: then only the service's own count tells.
            if not places or not (torn or (there and answered < job.answered)):
                return answered
            time.sleep(self._pauses[0])
        begins = f", a line of it begins {torn[0][:80].decode(errors='replace')!r}" if torn else ""
        raise Unreachable(
            f"The file {' or '.join(job.files)} of batch {job.id} came damaged {DOWNLOADS} times{begins}: {answered:,} of "
            f"{job.answered:,} answers are there. What was read is kept, and nothing is submitted again, since what it "
            "lacks is paid for. Retry to fetch it once more. If it stays so, delete the file at the service: then the "
            "next run submits what is missing."
        )

    def _take(self, taking: _Taking, given: dict[bytes, Reply]) -> None:
        if not taking.places:
            return
        if not self._journal.take(taking.batch.digest, taking.places, self._stored(taking.replies), taking.calls()):
            raise Unreachable(f"Another run collects batch {taking.batch.batch_id} too. Retry when it has ended.")
        given.update(taking.replies)
        for key in taking.replies:
            del taking.left[key]

    def _give_up(self, left: dict[bytes, _Open], given: dict[bytes, Reply]) -> None:
        """End with what the service has failed on often enough."""
        ended = [waiting for waiting in left.values() if waiting.failed_batches >= FAILED_BATCHES]
        if ended:
            raise BatchFailed(
                f"{self.name} ended {FAILED_BATCHES} batches without answering {len(ended):,} of their questions: "
                f"{ended[0].message} Answers so far are kept. Look at them at the service, then retry to submit what "
                "is missing; without mode=batch they are asked one by one."
            )
        refused: dict[bytes, Reply] = {}
        for key, waiting in list(left.items()):
            serves = waiting.question.kind in self._serves
            is_ping = waiting.question == ping_of(waiting.question)
            if is_ping and waiting.refused:
                raise PermanentError(
                    f"{self.name} refuses every line of its batches to {waiting.question.model}, one with a single word "
                    f"too: {waiting.message} Nothing was paid, and no question counts as refused."
                )
            if waiting.failures >= SENDINGS and not serves:
                raise Unreachable(f"{self.name} fails on every line of its batches: {waiting.message} Retry later.")
            if waiting.refused and serves:
                refused[key] = given[key] = replace(waiting.paid, refusal=REFUSED, message=waiting.message)
            elif waiting.failures >= SENDINGS:
                given[key] = replace(waiting.paid, refusal=UNANSWERED, message=waiting.message)  # not kept: it may pass
            elif not (is_ping and serves):
                continue
            del left[key]
        self._journal.put(self._stored(refused))

    def _add_pings(self, left: dict[bytes, _Open]) -> None:
        """Ask with one word where no question of a kind was answered: whether its texts are at fault, or the service."""
        for waiting in list(left.values()):
            if (waiting.failures or waiting.refused) and waiting.question.kind not in self._serves:
                ping = ping_of(waiting.question)
                left.setdefault(key_of_question(self.name, ping), _Open(ping))

    def _budget_reached(self, batches: Sequence[Batch], account: Account) -> BudgetReached:
        spent = self._journal.spent(account.jobs).usd
        needed = sum(batch.highest_usd for batch in batches)
        enough = math.ceil(10_000 * (spent + needed)) / 10_000  # as it is told: rounded down it would not be
        return BudgetReached(
            f"The budget does not cover this batch: {spent:.4f} USD are spent, its {sum(len(b.keys) for b in batches):,} "
            f"questions can cost {needed:.4f} USD at most (each with the longest answer that it may have), and budget_usd "
            f"is {account.cap_usd:.4f}. Nothing was submitted. Raise budget_usd to {enough:.4f} or more, or ask "
            "without mode=batch, which needs room for a few questions at a time; what is known is not paid again."
        )


class AfterBatches:
    """An ``Engine`` that asks one by one what no batch of an earlier run holds.

    Args:
        engine: Who is asked.
        journal: Where batches are written down.
        batches: Opens those of the same chat; called where there are some.
    """

    def __init__(self, engine: Engine, journal: Journal, batches: Callable[[], BatchAsker]) -> None:
        self._engine = engine
        self._journal = journal
        self._batches = batches

    @property
    def name(self) -> str:
        """The chat's name."""
        return self._engine.name

    def ask(self, questions: Sequence[Question], *, account: Account, fresh: str = "") -> list[Reply]:
        """Get a reply to every question; see ``Engine.ask`` and ``BatchAsker.settle``."""
        if not fresh and self._journal.open_batches(self.name):
            self._batches().settle(questions)
        return self._engine.ask(questions, account=account, fresh=fresh)


class _Creation:
    """One batch to be created; where an answer was lost, it is looked for before it is created again."""

    def __init__(self, batches: Batches, batch: Batch, file_id: str, model: str, settling_seconds: float) -> None:
        self.answer_lost = False
        self._batches = batches
        self._batch = batch
        self._file_id = file_id
        self._model = model
        self._settling_seconds = settling_seconds

    async def create(self) -> Job:
        """Create it, or find it."""
        if self.answer_lost and (found := await _find(self._batches, self._batch, self._settling_seconds)):
            return found
        try:
            created = await self._batches.create(self._file_id, self._model, self._batch.digest)
        except Throttled:
            raise
        except TransientError:
            self.answer_lost = True
            raise
        self.answer_lost = False
        return created


class _Taking:
    """Some lines of a batch's answer, read and not yet on the disk."""

    def __init__(
        self, batch: Batch, left: dict[bytes, _Open], batches: Batches, prices: Prices, serves: set[Kind]
    ) -> None:
        self.batch = batch
        self.left = left
        self.places: list[int] = []
        self.torn: list[bytes] = []  # lines that are none: of a file that broke off, or a page in its place
        self.replies: dict[bytes, Reply] = {}
        self._batches = batches
        self._prices = prices
        self._serves = serves
        self._outcomes: dict[str, tuple[int, int, float]] = {}  # questions, characters, US dollars

    def read(self, line: bytes, places: dict[bytes, int]) -> bool:
        """Read one line, and take its question out of those that are expected; it may be another job's.

        Returns:
            Whether it is an answer. A question that no line names is missing.
        """
        if not line.strip():
            return False
        try:
            stored = json.loads(line)
            named = str(stored["custom_id"])
        except (ValueError, KeyError, TypeError):
            self.torn.append(line)
            return False
        try:
            key = bytes.fromhex(named)
        except ValueError:
            return False  # none of ours
        response = stored.get("response")
        response = response if isinstance(response, dict) else {}
        status, body, error = response.get("status_code"), response.get("body"), stored.get("error")
        good = status == 200 and not error
        if key not in places:
            return good
        self.places.append(places.pop(key))
        waiting = self.left[key]
        if good:
            self._answered(key, body)
            return True
        waiting.message = f"status {status}: {json.dumps(error or body, ensure_ascii=False)[:300]}."
        if status in _REFUSALS:
            waiting.refused = True
            self._count(key, REFUSED, 0.0)
        else:
            waiting.failures += 1
            self._count(key, "failed", 0.0)
        return False

    def miss(self, job: Job, places: Mapping[bytes, int], cost_usd: float) -> None:
        """Give up the lines that the service's files do not have."""
        for key, place in places.items():
            waiting = self.left[key]
            self.places.append(place)
            if job.state == "SUCCESS":
                waiting.failures += 1
                waiting.message = f"batch {job.id} has no line for it."
            else:
                waiting.failed_batches += 1
                waiting.message = f"batch {job.id} ended as {job.state}. {job.message}".strip()
            self._count(key, job.state, cost_usd / len(places))

    def calls(self) -> list[Call]:
        """What these lines cost, by what became of them."""
        batch, at = self.batch, time.time()
        service = f"{batch.chat} batch"
        return [
            Call(at, batch.job, service, texts, chars, 0.0, outcome, cost)
            for outcome, (texts, chars, cost) in self._outcomes.items()
        ]

    def _answered(self, key: bytes, body: Any) -> None:
        waiting = self.left[key]
        price = self._prices.of(waiting.question.model)
        try:
            completion = self._batches.completion(body)
        except BadAnswer as error:
            waiting.failures += 1
            waiting.message = str(error)
            self._count(key, "BadAnswer", price.highest(waiting.question, batch=True))  # nobody saw its bill
            return
        self._serves.add(waiting.question.kind)
        cost = price.cost(completion.prompt_tokens, completion.completion_tokens, batch=True)
        reply = judge(waiting.question, completion, waiting.paid, cost)
        self._count(key, reply.refusal or "answered", cost)
        waiting.readings += 1
        if reply.refusal == UNREADABLE and waiting.readings < READINGS:
            waiting.paid = replace(reply, refusal=None, message="")
        else:
            self.replies[key] = reply

    def _count(self, key: bytes, outcome: str, cost_usd: float) -> None:
        texts, chars, cost = self._outcomes.get(outcome, (0, 0, 0.0))
        self._outcomes[outcome] = (texts + 1, chars + self.left[key].question.chars, cost + cost_usd)


async def _find(batches: Batches, batch: Batch, settling_seconds: float) -> Job | None:
    """A batch of which nobody knows whether it was created: a miss is paid twice, so a list gets time to be right."""
    for _ in range(FINDINGS):
        await asyncio.sleep(settling_seconds)
        if found := await batches.find(batch.digest, batch.at):
            return found
    return None


def _is_without_files(job: Job) -> bool:
    """Whether a batch has ended and its files are not there yet."""
    return job.state in ENDED - {"GONE"} and job.answered > 0 and not job.files


def _holds(batch: Batch, left: Mapping[bytes, _Open]) -> bool:
    return any(key in left and not taken for key, taken in zip(batch.keys, batch.taken, strict=True))
