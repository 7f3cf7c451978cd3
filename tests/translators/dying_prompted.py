"""Translates twelve lines in packs and dies by SIGKILL right before the n-th write of the journal, in a process of its own.

::

    python -m tests.translators.dying_prompted answers.sqlite asked 3 4     before the third write, in packs of four

``asked`` gets a line for every line that was asked. Any number beyond the last write lets it come to its end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.chat.asker import Asker
from tasks.chat.prices import Prices
from tasks.chat.protocol import Limits
from tasks.remote.journal import Journal
from tasks.translators.prompted import PromptedAsker
from tests.translators.test_prompted import MODEL, PRICE, Prompt, Shouting

LINES = [f"line {number}" for number in range(12)]


def die_before(write: int) -> None:
    """Let the process be killed right before the journal writes for the n-th time."""
    plain: Callable[..., Any] = Journal.put
    left = write

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments, **named)

    Journal.put = dying  # type: ignore[method-assign]


def main(path: str, asked: str, write: str, items: str) -> None:
    """Translate, and write down what is asked."""
    log = os.open(asked, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def answer(lines: list[str]) -> list[str]:
        os.write(log, "".join(f"{line}\n" for line in lines).encode())
        return [line.upper() for line in lines]

    chat, journal = Shouting(answer), Journal(Path(path))
    chat.limits = Limits(at_once=1)
    die_before(int(write))
    engine = Asker(chat, journal, Prices(Path("prices.json"), {MODEL: PRICE}))
    asker = PromptedAsker(Prompt(chat, max_items=int(items)), engine, journal, "en", "es")
    answers = asker.ask(LINES, job="job")
    assert LINES == [text.lower() for text, _ in answers.values() if text]


if __name__ == "__main__":
    main(*sys.argv[1:])
