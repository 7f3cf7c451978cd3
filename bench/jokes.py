"""What becomes of the predecessor's recorded transcripts and jokes here: windows, places, accents, duplicates, calls.

``python -m bench.jokes TRANSCRIPTS REPERTOIRE [REPERTOIRE ...]`` wants Parquet files: segments as ``read_transcripts``
takes them, and jokes with ``routine_id``, ``transcript`` (the quote) and ``corrected_transcript``. The first repertoire
is the one whose damage is looked for, the last one serves as whole jokes. Shares have 95 % intervals clustered by routine.
Times are CPU seconds of one process.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from tasks.jokes.accents import Vocabulary, damaged
from tasks.jokes.captions import merge, opening_said_twice, spoken
from tasks.jokes.duplicates import LEAST_ALIKE, by_span, near
from tasks.jokes.locate import LEAST_FOUND, locate
from tasks.jokes.sources import read_transcripts
from tasks.jokes.spelling import bare, plain, split
from tasks.jokes.transcript import Segment, Span, Transcript
from tasks.jokes.windows import cut
from tasks.stats.intervals import clustered

BLOCK_CHARS = 3_000  # of the predecessor's calls
CHARS_PER_TOKEN = 3.5  # a guess for Spanish speech, equal for both ways; no tokenizer of Mistral's is at hand
SHIFTS = 10  # places of the predecessor's cuts that are tried


class Joke(NamedTuple):
    """A recorded one, and where it stands."""

    routine: str
    quote: str
    corrected: str
    span: Span | None

    @property
    def words(self) -> int:
        """Of the quote."""
        return len(self.quote.split())

    @property
    def located(self) -> Span | None:
        """The span, if enough of the words stand there."""
        return self.span if self.span and self.span.found >= LEAST_FOUND else None


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transcripts", type=Path)
    parser.add_argument("repertoires", type=Path, nargs="+")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}")
    transcripts = _transcripts(options.transcripts)
    _rolled(transcripts)
    repertoires = {path.stem: _repertoire(path, transcripts) for path in options.repertoires}
    first, *_, last = [*repertoires.values()] * 2
    blocks = _blocks(options.transcripts)
    _calls(transcripts, blocks)
    for name, jokes in repertoires.items():
        _straddling(name, jokes, transcripts, blocks)
    _accents(first, last, transcripts)
    _duplicates(first)


def _share(what: str, cases: Sequence[tuple[str, bool]]) -> None:
    """Print how many of the cases, each with its routine, hold."""
    hits, sizes = Counter(routine for routine, holds in cases if holds), Counter(routine for routine, _ in cases)
    low, high = clustered([hits[routine] for routine in sizes], list(sizes.values()))
    n, of = hits.total(), sizes.total()
    share = f"{n / of:.2%} ({low:.2%} to {high:.2%})" if of else "none"
    print(f"  {what}: {n:,} of {of:,}, {share}")


def _transcripts(path: Path) -> dict[str, Transcript]:
    start = time.process_time()
    items = list(read_transcripts(path, "es"))
    spent = time.process_time() - start
    good = {item.routine: item for item in items if isinstance(item, Transcript)}
    words = sum(len(item.words) for item in good.values())
    print(f"read: {len(items)} routines, {len(good)} taken, {words:,} words, {spent:.1f} s")
    notes = Counter(
        re.sub(r"\d+", "…", note.split(": ", 1)[1].split("'")[0]) for item in good.values() for note in item.notes
    )
    for note, routines in notes.most_common():
        print(f"  {routines} routines: {note}")
    return good


def _rolled(transcripts: dict[str, Transcript]) -> None:
    """Roll every transcript as YouTube does, in lines of 6 words, and merge it again."""
    same = flat = 0
    for transcript in transcripts.values():
        lines = [" ".join(transcript.words[at : at + 6]) for at in range(0, len(transcript.words), 6)]
        rolled = []
        for at, line in enumerate(lines):
            rolled.append(Segment(2.0 * at, 2.0 * at + 1.99, "\n".join([*lines[max(at - 1, 0) : at], line])))
            rolled.append(Segment(2.0 * at + 1.99, 2.0 * at + 2, line))
        same += " ".join(segment.text for segment in merge(rolled)).split() == list(transcript.words)
        flat += merge(transcript.segments) == transcript.segments
    print(f"rolled and merged again: {same} of {len(transcripts)} word for word; not rolled: {flat} unchanged")


def _repertoire(path: Path, transcripts: dict[str, Transcript]) -> list[Joke]:
    rows = sorted(pq.read_table(path).to_pylist(), key=lambda row: int(row["routine_id"]))
    rows = [row for row in rows if str(row["routine_id"]) in transcripts]
    start = time.process_time()
    jokes = []
    for row in rows:
        routine = str(row["routine_id"])
        quote = row["transcript"]
        jokes.append(Joke(routine, quote, row["corrected_transcript"], locate(quote, transcripts[routine])))
    spent = time.process_time() - start
    print(f"{path.stem}: {len(jokes):,} jokes located in {spent:.1f} s, {1000 * spent / len(jokes):.2f} ms each")
    _share(
        "located, of 6 words or more", [(joke.routine, joke.located is not None) for joke in jokes if joke.words >= 6]
    )
    _share("located, of fewer", [(joke.routine, joke.located is not None) for joke in jokes if joke.words < 6])
    names = sorted(transcripts)
    strange = [joke for joke in random.Random(1).sample(jokes, min(1_000, len(jokes))) if joke.words >= 6]
    wrong = []
    for joke in sorted(strange, key=lambda joke: joke.routine):
        span = locate(joke.quote, transcripts[names[(names.index(joke.routine) + 7) % len(names)]])
        wrong.append((joke.routine, span is not None and span.found >= LEAST_FOUND))
    _share("located in another routine than their own", wrong)
    return jokes


def _blocks(path: Path) -> dict[str, list[tuple[int, int]]]:
    """The predecessor's calls on the same segments: words in each, and characters of its prompt's block."""
    lines: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in pq.read_table(path).to_pylist():
        # With a character more or less in each line its borders go through three times as many of its own jokes.
        line = f"language:{row['language']} timestamp:{row['timestamp']} transcript:{row['transcript']} \n"
        routine = str(row["routine_id"])
        words = spoken(row["transcript"]).split()  # as they are counted here
        if words and not any(before for before, _ in lines[routine]):
            words = words[opening_said_twice([Segment(0, 0, " ".join(words))]) :]
        lines[routine].append((len(words), len(line)))
    blocks: dict[str, list[tuple[int, int]]] = {}
    for routine, own in lines.items():
        blocks[routine] = [(0, 0)]
        for said, chars in own:
            if blocks[routine][-1][1] >= BLOCK_CHARS:
                blocks[routine].append((0, 0))
            before = blocks[routine][-1]
            blocks[routine][-1] = (before[0] + said, before[1] + chars)
    return blocks


def _calls(transcripts: dict[str, Transcript], blocks: dict[str, list[tuple[int, int]]]) -> None:
    start = time.process_time()
    windows = {routine: cut(transcript) for routine, transcript in transcripts.items()}
    spent = time.process_time() - start
    said = sum(len(" ".join(transcript.words)) for transcript in transcripts.values())
    theirs = [chars for own in blocks.values() for _, chars in own]
    ours = [len(window.text) for own in windows.values() for window in own]
    n = len(transcripts)
    print(f"windows cut in {spent:.1f} s; {said:,} characters were said in {n} routines")
    print("| way | calls | calls a routine | characters sent | tokens a routine, guessed | characters sent per said |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, sizes in (("predecessor", theirs), ("here", ours)):
        print(
            f"| {name} | {len(sizes):,} | {len(sizes) / n:.1f} | {sum(sizes):,} | "
            f"{sum(sizes) / CHARS_PER_TOKEN / n:,.0f} | {sum(sizes) / said:.2f} |"
        )


def _straddling(
    name: str, jokes: list[Joke], transcripts: dict[str, Transcript], blocks: dict[str, list[tuple[int, int]]]
) -> None:
    """Jokes across the predecessor's borders where it put them, and where it could have put them."""
    windows = {routine: cut(transcript) for routine, transcript in transcripts.items()}
    located = [joke for joke in jokes if joke.located and joke.words >= 6]

    def whole(joke: Joke) -> bool:
        span = joke.located
        return span is not None and any(w.first <= span.first and span.stop <= w.stop for w in windows[joke.routine])

    print(f"{name}: {len(located):,} located jokes of 6 words or more")
    _share("whole in a window", [(joke.routine, whole(joke)) for joke in located])
    edges = {routine: [at for one in some for at in (one.first, one.stop)] for routine, some in windows.items()}
    across = [joke for joke in located if _across(joke.located, edges[joke.routine])]
    _share(
        "of those across the beginning or end of a window, whole in another", [(j.routine, whole(j)) for j in across]
    )
    borders = {routine: list(_borders([words for words, _ in own])) for routine, own in blocks.items()}
    across = [joke for joke in located if _across(joke.located, borders[joke.routine])]
    _share("of those across a border of the predecessor's, whole in a window", [(j.routine, whole(j)) for j in across])
    lost, kept = [], []
    for shift in range(SHIFTS):
        for joke in located:
            own = blocks[joke.routine]
            size = sum(words for words, _ in own) / len(own)
            moved = [round(at - size * shift / SHIFTS) for at in borders[joke.routine]]
            cut_off = _across(joke.located, moved)
            lost.append((joke.routine, cut_off))
            if cut_off:
                kept.append((joke.routine, whole(joke)))
    _share(f"cut by blocks like the predecessor's, at {SHIFTS} places", lost)
    _share("of these, whole in a window", kept)
    long = [joke for joke in located if not whole(joke)]
    if long:
        chars = sorted(len(joke.quote) for joke in long)
        print(f"  not whole in a window: {chars[0]:,} to {chars[-1]:,} characters, median {chars[len(chars) // 2]:,}")


def _borders(sizes: Sequence[int]) -> Iterator[int]:
    at = 0
    for size in sizes[:-1]:
        at += size
        yield at


def _across(span: Span | None, borders: Sequence[int]) -> bool:
    return span is not None and any(span.first < border < span.stop for border in borders)


def _accents(jokes: list[Joke], whole: list[Joke], transcripts: dict[str, Transcript]) -> None:
    vocabularies = {routine: Vocabulary.of(transcript.words) for routine, transcript in transcripts.items()}
    start = time.process_time()
    found = [damaged(joke.quote, vocabularies[joke.routine]) for joke in jokes]
    spent = time.process_time() - start
    print(f"accents, {1000 * spent / len(jokes):.2f} ms a joke")
    cases = list(zip(jokes, found, strict=True))
    _share("quotes with damaged words", [(joke.routine, bool(words)) for joke, words in cases])
    _share(
        "corrected texts with damaged words",
        [(joke.routine, bool(damaged(joke.corrected, vocabularies[joke.routine]))) for joke in jokes],
    )
    # The truth without the vocabulary: what the transcript has at the very place of each word.
    truth = [(joke, words, _lost(joke, transcripts[joke.routine], bare)) for joke, words in cases if joke.located]
    _share("quotes that lost letters, by their place", [(joke.routine, bool(lost)) for joke, _, lost in truth])
    _share("  of these found", [(joke.routine, bool(words)) for joke, words, lost in truth if lost])
    _share(
        "  of those found, so by their place (letters or accents lost)",
        [(j.routine, bool(lost or _lost(j, transcripts[j.routine], plain))) for j, words, lost in truth if words],
    )
    words_lost = Counter[str]()
    words_found = Counter[str]()
    for joke, words, lost in truth:
        words_lost[joke.routine] += len(lost)
        words_found[joke.routine] += (Counter(words) & Counter(lost)).total()
    low, high = clustered([words_found[r] for r in words_lost if words_lost[r]], [n for n in words_lost.values() if n])
    share = words_found.total() / words_lost.total()
    print(f"  words lost, by their place: {words_lost.total():,}; found {share:.2%} ({low:.2%} to {high:.2%})")
    clean = [(joke.routine, bool(damaged(joke.quote, vocabularies[joke.routine]))) for joke in whole]
    _share("false alarms on whole jokes (the last repertoire; some are damaged indeed)", clean)
    for name, change in (("without letters that are not ASCII", bare), ("with ASCII letters for them", plain)):
        broken = [
            (joke, " ".join(map(change, joke.quote.split())))
            for joke in whole
            if not joke.quote.isascii()
            and any(not part.isascii() for word in joke.quote.split() for part in split(word))
        ]
        _share(
            f"whole jokes {name}, found",
            [(joke.routine, bool(damaged(text, vocabularies[joke.routine]))) for joke, text in broken],
        )


def _lost(joke: Joke, transcript: Transcript, change: Callable[[str], str]) -> list[str]:
    """Words of a quote that at their very place in the transcript have letters that are not ASCII, and here have none.

    Args:
        joke: A located one.
        transcript: Its routine.
        change: What has happened to the letters: ``bare`` or ``plain``.
    """
    span = joke.located
    assert span is not None
    said = [part for word in transcript.words[span.first : span.stop] for part in split(word)]
    quoted = [part for word in joke.quote.split() for part in split(word)]
    blocks = SequenceMatcher(None, [*map(change, quoted)], [*map(change, said)], autojunk=False).get_matching_blocks()
    return [
        quoted[ours + at]
        for ours, theirs, size in blocks
        for at in range(size)
        if quoted[ours + at].isascii() and not said[theirs + at].isascii()
    ]


def _duplicates(jokes: list[Joke]) -> None:
    start = time.process_time()
    place = by_span([joke.routine for joke in jokes], [joke.located for joke in jokes], [True] * len(jokes))
    middle = time.process_time()
    texts = _near([joke.quote for joke in jokes])
    end = time.process_time()
    print(
        f"duplicates among {len(jokes):,}: {_count(place):,} by place in {middle - start:.1f} s, "
        f"{_count(texts):,} by text in {end - middle:.1f} s"
    )
    for least in (0.5, 0.6, 0.7, 0.8, 1.0):
        print(f"  alike from {least}: {_count(_near([joke.quote for joke in jokes], least)):,}")
    some = [joke for at, joke in enumerate(jokes) if texts[at] is None and joke.words >= 11][:2_000]
    draw = random.Random(1)
    for name, changed in (
        ("without their accents", [bare(joke.quote) for joke in some]),
        ("without one word in 20", [_thinned(joke.quote, 0.05, draw) for joke in some]),
        ("without one word in 10", [_thinned(joke.quote, 0.1, draw) for joke in some]),
        ("without one word in 5", [_thinned(joke.quote, 0.2, draw) for joke in some]),
    ):
        found = _near([*(joke.quote for joke in some), *changed])[len(some) :]
        right = [(joke.routine, other == at) for at, (joke, other) in enumerate(zip(some, found, strict=True))]
        _share(f"jokes of 11 words or more {name}, found", right)
        others = [
            (joke.routine, other not in (None, at)) for at, (joke, other) in enumerate(zip(some, found, strict=True))
        ]
        _share("  taken for another joke", others)


def _near(texts: Sequence[str], least: float = LEAST_ALIKE) -> list[int | None]:
    """By text alone."""
    return near(texts, [None] * len(texts), [True] * len(texts), least)


def _count(of: Sequence[int | None]) -> int:
    return sum(other is not None for other in of)


def _thinned(text: str, share: float, draw: random.Random) -> str:
    return " ".join(word for word in text.split() if draw.random() >= share)


if __name__ == "__main__":
    main()
