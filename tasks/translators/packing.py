"""Texts asked through the journal, packed up to the service's limits.

Equal texts are asked once, whichever chunk asks. What the journal knows is not asked at all. The rest travels in packs,
a pack that fails is halved, and each answer is in the journal before it is handed out::

    ["A man.", "A bus.", "A man."]  ->  journal has "A bus."  ->  one request with "A man."
"""

from __future__ import annotations

import asyncio
import string
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tasks.remote.errors import Echoed, Misaligned, TooLarge
from tasks.remote.gate import Gate
from tasks.remote.journal import REFUSED, UNANSWERED, Answer, Call, Journal, keys_of
from tasks.remote.loop import run
from tasks.remote.once import Claims, Once
from tasks.remote.retry import ATTEMPTS, send
from tasks.storage.errors import TransientError
from tasks.translators.protocol import Limits, Translator


def packs(texts: Iterable[str], limits: Limits, starts: Collection[str] = ()) -> Iterator[list[str]]:
    """Fill requests in order, up to the limits. A text that alone exceeds them travels alone.

    Args:
        texts: Distinct ones.
        limits: Of one request.
        starts: Those with which a conversation begins: one that does not fit whole goes into the next request, unless
            it is larger than a request.
    """
    pack: list[str] = []
    chars = size = border = 0
    for text in texts:
        text_size = encoded_bytes(text)
        while pack and (
            len(pack) >= limits.max_items
            or chars + len(text) + 1 > limits.max_chars
            or size + text_size + 3 > limits.max_bytes
        ):
            stop = len(pack) if text in starts else border or len(pack)
            yield pack[:stop]
            pack, border = pack[stop:], 0
            chars = sum(len(other) + 1 for other in pack)
            size = sum(encoded_bytes(other) + 3 for other in pack)
        if text in starts:
            border = len(pack)
        pack.append(text)
        chars += len(text) + 1
        size += text_size + 3
    if pack:
        yield pack


def questions(translator: str, source: str, target: str, attempt: int, texts: Collection[str]) -> dict[str, bytes]:
    """The journal's key of each text, asked of one translator (name and version) for one pair of languages."""
    return dict(zip(texts, keys_of((translator, source, target, str(attempt)), texts), strict=True))


_UNQUOTED = (string.ascii_letters + string.digits + "_.-~ ").encode()  # a space becomes one "+"


def encoded_bytes(text: str) -> int:
    """Bytes of a text once percent-encoded: what ``len(quote_plus(text))`` says, 15 times as fast on a sentence."""
    data = text.encode()
    return len(data) + 2 * len(data.translate(None, _UNQUOTED))


def _check_unicode(answers: Sequence[str], name: str) -> None:
    try:
        "".join(answers).encode()
    except UnicodeEncodeError as error:  # escaped in a service's JSON; neither the journal nor a table can hold it
        raise Misaligned(f"{name} gave half of a character (a lone surrogate).") from error


@dataclass(slots=True)
class Asking:
    """What one call of ``Asker.ask`` has claimed, a text that was answered before, and the first error that ends it."""

    job: str
    fresh: str
    keys: dict[str, bytes]
    futures: dict[bytes, asyncio.Future[Answer]]
    canary: str | None = None
    failure: BaseException | None = None


class Asker:
    """Asks one translator for all chunks of the process.

    Args:
        translator: The engine.
        journal: Where answers are kept.
        source: Language of the texts.
        target: Language to translate into.
    """

    paid = False

    def __init__(self, translator: Translator, journal: Journal, source: str, target: str) -> None:
        self.translator = translator
        limits = translator.limits
        self._gate = Gate(translator.name, limits.at_once, limits.rate, limits.max_rate)
        self._once = Once(journal)
        self._languages = (source, target)

    @property
    def name(self) -> str:
        """Name and version of the translator."""
        return self.translator.name

    def ask(
        self, texts: Iterable[str], *, job: str, attempt: int = 0, fresh: str = "", starts: Collection[str] = ()
    ) -> dict[str, Answer]:
        """Get an answer for every text; blocks the calling thread.

        Args:
            texts: Single lines. Repeated ones are asked once.
            job: Who asks, for the list of calls.
            attempt: 0, or 1 for a second opinion: each text in a request of its own, under a key of its own.
            fresh: Name of an occasion: ask again what the journal knows, but for what was asked on this very occasion.
            starts: Of no matter here: these translators read each text by itself, so packs are filled to the brim.

        Returns:
            For each distinct text an Answer: the translation, or the code of a refusal: ``refused`` (the service will
            not take this text) or ``unanswered`` (it fails on this text while it answers others).

        Raises:
            TransientError: The service does not answer; what came before is in the journal.
            PermanentError: The service does not serve us at all.
        """
        return run(self._ask(dict.fromkeys(texts), job, attempt, fresh))

    def close(self) -> None:
        """Let go of the translator and the writing thread."""
        run(self.translator.aclose())
        self._once.close()

    async def _ask(self, texts: Collection[str], job: str, attempt: int, fresh: str) -> dict[str, Answer]:
        keys = questions(self.name, *self._languages, attempt, texts)

        async def ask(claims: Claims) -> None:
            mine = {text: key for text, key in keys.items() if key in claims.futures}
            missing = [text for text, key in mine.items() if key not in claims.known]
            canary = next((text for text, key in mine.items() if key in claims.known and claims.known[key].text), None)
            limits = self.translator.limits if attempt == 0 else Limits(max_items=1)
            await self._ask_packs(list(packs(missing, limits)), Asking(job, fresh, mine, claims.futures, canary))

        answers = await self._once.answers(keys.values(), fresh, ask)
        return {text: answers[key] for text, key in keys.items()}

    async def _ask_packs(self, packed: list[list[str]], asking: Asking) -> None:
        # After a failure no new request starts, but those under way are waited for: their answers are paid.
        results = await asyncio.gather(*(self._ask_pack(pack, asking) for pack in packed), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise asking.failure or error

    async def _ask_pack(self, pack: Sequence[str], asking: Asking, attempts: int = ATTEMPTS) -> None:
        try:
            await send(self._gate, lambda: self._one_request(pack, asking), attempts)
        except (TooLarge, Misaligned) as error:
            await self._ask_halves(pack, asking, error)
        except BaseException as error:
            if not isinstance(error, TransientError) or not await self._alive(pack, asking):
                asking.failure = asking.failure or error
                raise
            await self._ask_halves(pack, asking, error)

    async def _alive(self, pack: Sequence[str], asking: Asking) -> bool:
        """Whether the service answers another text: then it is this pack that it stumbles over.

        Costs one request, only after a pack has failed for good. Without it an outage would look like refused texts.
        """
        if asking.failure is not None:
            return False
        other = asking.canary or next((text for text in asking.keys if text not in pack), None)
        if other is None:
            return len(pack) > 1  # its halves will tell
        try:
            await send(self._gate, lambda: self._one_request([other], asking), attempts=2)
        except Exception:  # noqa: BLE001  # whatever it is: not alive, and the pack's own error is the one to tell
            return False
        return True

    async def _ask_halves(self, pack: Sequence[str], asking: Asking, error: Exception) -> None:
        if len(pack) > 1:
            middle = len(pack) // 2
            await self._ask_pack(pack[:middle], asking, attempts=3)
            await self._ask_pack(pack[middle:], asking, attempts=3)
            return
        key = asking.keys[pack[0]]
        if isinstance(error, TooLarge):
            answer = Answer(None, REFUSED)
        elif isinstance(error, Echoed):
            answer = Answer(pack[0])
        else:
            answer = Answer(None, UNANSWERED)
        if answer.refusal != UNANSWERED:  # another day it may pass
            await self._once.put({key: answer}, [], asking.fresh)
        asking.futures[key].set_result(answer)

    async def _one_request(self, pack: Sequence[str], asking: Asking) -> None:
        """One request, written down with its answers before anybody uses them."""
        if asking.failure is not None:
            raise asking.failure
        at, started = time.time(), time.perf_counter()
        outcome = "answered"
        answers: dict[bytes, Answer] = {}
        try:
            translated = await self.translator.translate(pack)
            if len(translated) != len(pack):
                raise Misaligned(f"{self.name} gave {len(translated)} texts for {len(pack)}.")
            _check_unicode(translated, self.name)
            answers = {asking.keys[text]: Answer(answer) for text, answer in zip(pack, translated, strict=True)}
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            seconds = time.perf_counter() - started
            call = Call(at, asking.job, self.name, len(pack), sum(map(len, pack)), seconds, outcome)
            await self._once.put(answers, [call], asking.fresh)
        for key, answer in answers.items():
            if not asking.futures[key].done():  # a canary is answered twice
                asking.futures[key].set_result(answer)
        asking.canary = pack[-1]
