"""Asks five questions in a batch and dies by SIGKILL right before a named step, in a process of its own.

::

    python -m tests.chat.dying_batch http://127.0.0.1:8092 journal/answers.sqlite take 2     before the second `take`
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.chat import batch
from tasks.chat.batch import BatchAsker
from tasks.chat.mistral import Options, open_chat
from tasks.chat.mistral_batch import MistralBatches, open_batches
from tasks.chat.prices import read_prices
from tasks.chat.protocol import Account, Question
from tasks.remote.journal import Journal

MODEL = "mistral-small-2603"
JOB = Account("job", ("job",))
QUESTIONS = [
    Question(MODEL, (("user", f"say {word}"),), "say/1", max_tokens=50)
    for word in ("one", "two", "three", "four", "five")
]
STEPS: dict[str, type] = {  # in the order in which they come
    "intend": Journal,
    "upload": MistralBatches,
    "note_batch_file": Journal,
    "create": MistralBatches,
    "note_batch": Journal,
    "job": MistralBatches,
    "download": MistralBatches,
    "take": Journal,
}


def die_before(step: str, time: int) -> None:
    """Let the process be killed right before a step comes for the n-th time."""
    seen: Counter[str] = Counter()
    plain: Callable[..., Any] = getattr(STEPS[step], step)

    def dying(*arguments: Any, **named: Any) -> Any:
        seen[step] += 1
        if seen[step] == time:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*arguments, **named)

    setattr(STEPS[step], step, dying)


if __name__ == "__main__":
    batch._SLICE = 2  # three transactions
    die_before(sys.argv[3], int(sys.argv[4]))
    batches = open_batches(open_chat(Options(url=sys.argv[1])))
    asker = BatchAsker(batches, Journal(Path(sys.argv[2])), read_prices(), lambda _: None, 0.0, 0.0, 0.0)
    asker.ask(QUESTIONS, account=JOB)
