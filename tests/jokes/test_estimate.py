"""What a walk would cost is said before anything is asked, and is of the right size afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tasks.chat.asker import Asker
from tasks.chat.estimate import estimate
from tasks.chat.prices import read_prices
from tasks.chat.protocol import Completion, Question
from tasks.chat.scripted import ScriptedChat
from tasks.jokes import prompts
from tasks.jokes.estimate import work_of_jokes, work_of_windows
from tasks.jokes.funnel import PRESETS
from tasks.jokes.refine import STEPS, Asked
from tasks.remote.journal import Journal
from tasks.settings import CHECKOUT
from tasks.storage.root import DataRoot
from tests.jokes.walk import planned, walk

SAMPLES = CHECKOUT / "data" / "samples" / "transcripts"
MODEL, SIZES = "mistral-small-2603", (900, 200)


class Named(ScriptedChat):
    """The scripted chat under the name of a model that costs something."""

    def __init__(self) -> None:
        self.asked = 0

    async def complete(self, question: Question) -> Completion:
        self.asked += 1
        return await super().complete(replace(question, model="quote"))


def test_before_during_and_after_a_walk(tmp_path: Path) -> None:
    chat, prices = Named(), read_prices()
    journal = Journal(tmp_path / "journal" / "answers.sqlite")
    asker = Asker(chat, journal, prices)
    asked = Asked(asker, MODEL)
    steps = dict.fromkeys(STEPS, asked)
    windows = planned(SAMPLES, DataRoot(tmp_path), asker, MODEL, 2, SIZES)

    def calls() -> dict[str, int]:
        work = work_of_windows(windows, asked, prices, journal)
        work += work_of_jokes(windows, steps, "Chilean Spanish", PRESETS["default"], prices, journal)
        said = estimate(work, prices)
        assert said.usd <= said.highest_usd
        return {line.prompt: line.calls for line in said.lines}

    before = calls()
    assert (5, 0) == (before.pop(prompts.EXTRACT), chat.asked)
    chars = 3_600  # of the five windows, about
    assert {prompt: round(2.9e-3 * chars, -1) for prompt in before} == {
        prompt: round(n, -1) for prompt, n in before.items()
    }
    walk(SAMPLES, tmp_path, asker, model=MODEL, sizes=SIZES, steps=("levels",))
    after = calls()
    assert (None, None) == (after.get(prompts.EXTRACT), after.get(prompts.LEVELS)), "what is paid costs nothing more"
    assert 0 < after[prompts.KEYWORDS] == after[prompts.REWRITE]
    asker.close()
