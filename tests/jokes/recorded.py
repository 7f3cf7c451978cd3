"""A chat that finds in a window the jokes that a model once found in it: a recording, and no model.

The other steps are answered by the scripted chat. The answering model's name begins with ``recorded-``.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from tasks.chat.protocol import Completion, Question
from tasks.chat.scripted import ScriptedChat
from tasks.jokes.prompts import EXTRACT, Joke, Repertoire
from tests.standin.jokes import Jokes, read_jokes

# Real transcripts and what a model found in them: for tests and benches on a machine that has them, never committed.
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "jokes"
_LINE = re.compile(r"^\[(\d+:\d\d)\] (.*)$", re.MULTILINE)


class RecordedChat(ScriptedChat):
    """Answers ``extract-jokes`` from recordings, and counts.

    Args:
        path: A table with ``transcript`` and ``corrected_transcript``.
    """

    name = "recorded"

    def __init__(self, path: Path) -> None:
        self._jokes = Jokes(read_jokes(path))
        self.asked: Counter[str] = Counter()

    async def complete(self, question: Question) -> Completion:
        self.asked[question.identity] += 1
        if question.prompt != EXTRACT:
            said = await super().complete(replace(question, model="quote"))
            return replace(said, model=f"recorded-{question.model}")
        lines = _LINE.findall(question.messages[1][1])
        found = self._jokes.among([text for _, text in lines])
        jokes = [
            Joke(
                quote=one.joke.transcript,
                start_mark=lines[one.first][0],
                end_mark=lines[one.last][0],
                text=one.joke.corrected_transcript,
            )
            for one in found
        ]
        text = Repertoire(jokes=jokes).model_dump_json()
        finish = "stop" if len(text) <= 4 * question.max_tokens else "length"
        return Completion(text, finish, f"recorded-{question.model}", question.chars // 4, len(text) // 4)
