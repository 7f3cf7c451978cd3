"""What the stand-in answers: recorded pairs, and something visibly made up where nothing was recorded.

One recorded turn, and what is learnt from it::

    The man is cooking. He wears a hat.   ->  El hombre cocina. Lleva un sombrero.
    The man is cooking.                   ->  El hombre cocina.
    He wears a hat.                       ->  Lleva un sombrero.

An unknown sentence is glossed word by word (``A zorp is cooking.`` -> ``Un zorpo es cocinando.``).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

OWN_PAIRS = Path(__file__).with_name("pairs.jsonl")
# Real rows with Google's Spanish: for benches and tests on this machine, never committed.
REAL_ROWS = Path(__file__).resolve().parents[3] / "shared" / "data" / "llava_instruct_en_es.parquet"

_LINE = re.compile(r"\n*[^\n]+\n*|\n+")
_STOP = re.compile(r"""[.!?…]["'”’»)\]*]*\s+(?=["'“‘«(¿¡\[*]*[A-Z0-9ÁÉÍÓÚÑÜ])""")
_NO_STOP = re.compile(
    r"""(?:^|[\s("“])(?:[A-Z]|Mr|Mrs|Ms|Dr|St|vs|Sr|Sra|Dra|EE|[ap]\.\s?m|e\.g|i\.e|[A-Z]\.[A-Z]|\d{1,2})\.\s+$"""
)
_FINER = re.compile(r"""(?<=[.!?:])["'”’»)\]*]*\s+""")
_MARKER = re.compile(r"\s*(?:(?:\d{1,3}[.)]|[-*+•])\s+)+")
_LABEL = re.compile(r"(\*\*)([^*\s][^*]*)(\*\*:?\s*)")
# Code, addresses and other tokens stay; words change, with their apostrophes ("don't").
_TOKEN = re.compile(r"<[^<>\s]+>|`[^`]*`|(?:https?://|www\.)\S+|[^\W\d_]+(?:['’][^\W\d_]+)*")
_WORD = re.compile(r"[^\W\d_]+")

_GRAMMAR = dict(
    pair.split(" ", 1)
    for pair in (
        "the el|a un|an un|of de|in en|on sobre|at en|to a|and y|or o|but pero|not no|no ninguno|yes sí|"
        "is es|are son|was era|were eran|be ser|been sido|being siendo|am soy|has tiene|have tienen|"
        "had tenía|do hacen|does hace|did hizo|can puede|could podría|may puede|might podría|will va a|"
        "would haría|should debe|must debe|it ello|its su|it's es|they ellos|them ellos|their su|he él|"
        "his su|him él|she ella|her su|we nosotros|our nuestro|you usted|your su|i yo|my mi|this este|"
        "that ese|these estos|those esos|there allí|here aquí|what qué|which cuál|who quién|where dónde|"
        "when cuándo|why por qué|how cómo|many muchos|much mucho|more más|most mayoría|some algunos|"
        "any algún|all todos|both ambos|each cada|every cada|other otro|another otro|with con|without sin|"
        "for para|from desde|by por|as como|than que|if si|while mientras|because porque|so así|"
        "also también|very muy|too también|up arriba|down abajo|out fuera|over sobre|under bajo|"
        "near cerca de|between entre|behind detrás de|into en|through por|about sobre|one uno|two dos|"
        "three tres|four cuatro|five cinco|six seis|seven siete|eight ocho|nine nueve|ten diez|don't no|"
        "isn't no es|there's hay|that's eso es|image imagen|picture foto|photo foto|man hombre|"
        "woman mujer|people personas|person persona|child niño|children niños|dog perro|cat gato|"
        "street calle|table mesa|red rojo|white blanco|black negro|blue azul|green verde|yellow amarillo|"
        "large grande|small pequeño|describe describa|seen visto"
    ).split("|")
)
_ENDINGS = (
    ("tions", "ciones"), ("tion", "ción"), ("ties", "dades"), ("ty", "dad"), ("ly", "mente"), ("ing", "ando"),
    ("ed", "ado"), ("ous", "oso"), ("ment", "miento"), ("ness", "eza"), ("y", "ía"), ("e", "o"), ("s", "sos"),
)  # fmt: skip


class Segment(NamedTuple):
    """One sentence as the service gives it back: ``orig`` verbatim, with the white space that follows it."""

    trans: str
    orig: str
    known: bool


def cut(line: str) -> list[str]:
    """Cut one line into sentences, each with the white space that follows it."""
    out, start = [], 0
    for found in _STOP.finditer(line):
        if not _NO_STOP.search(line, max(start, found.start() - 8), found.end()):
            out.append(line[start : found.end()])
            start = found.end()
    return [*out, line[start:]] if start < len(line) else out


def share_out(sentences: Sequence[str], translation: str) -> list[str] | None:
    """Lay a translation beside the sentences it belongs to.

    Args:
        sentences: The source, cut.
        translation: The translation of all of them together.

    Returns:
        One stretch of the translation per sentence, none empty, which joined by a space are the translation
        (white space counts as one space); None where it has fewer words than there are sentences. Where the
        counts of sentences agree they are paired; otherwise the translation is cut at words, in proportion,
        at a full stop if one is near.
    """
    own = [piece.strip() for piece in cut(translation)]
    if len(own) == len(sentences):
        return [" ".join(piece.split()) for piece in own]
    words = translation.split()
    if len(words) < len(sentences):
        return None
    ends = [0]
    for word in words:
        ends.append(ends[-1] + len(word) + 1)
    scale = ends[-1] / max(sum(map(len, sentences)), 1)
    near = 0.3 * ends[-1] / len(sentences)
    out, start, goal = [], 0, 0.0
    for left, sentence in zip(range(len(sentences) - 1, 0, -1), sentences, strict=False):
        goal += len(sentence) * scale
        stop = min(
            range(start + 1, len(words) - left + 1),
            key=lambda at: abs(ends[at] - goal) - near * (words[at - 1][-1] in ".!?"),
        )
        out.append(" ".join(words[start:stop]))
        start = stop
    return [*out, " ".join(words[start:])]


def lay_side_by_side(english: str, spanish: str) -> Iterator[tuple[str, list[str], list[str], bool]]:
    """Lay one turn's two sides beside each other.

    Yields:
        A line, its sentences, the translation of each; False where the counts of lines differ: a guess then.
    """
    source, target = ([line.strip() for line in side.split("\n")] for side in (english, spanish))
    source, target = ([line for line in side if line and line != "<image>"] for side in (source, target))
    pieces = [[piece.strip() for piece in cut(line)] for line in source]
    paired = len(source) == len(target)
    whole = [] if paired else share_out(list(chain.from_iterable(pieces)), " ".join(target))
    for place, (line, sentences) in enumerate(zip(source, pieces, strict=True)):
        here = whole and [whole.pop(0) for _ in sentences]
        shares = share_out(sentences, target[place]) if paired else here
        if shares:
            yield line, sentences, shares, paired


class Recorded:
    """Recorded pairs, and answers from them.

    ``sentences`` holds pairs that are sure, ``guesses`` those cut in proportion, ``lines`` the lines whose
    translation is not that of their sentences, ``words`` what the gloss is made of.
    """

    def __init__(self) -> None:
        self.sentences: dict[str, str] = {}
        self.guesses: dict[str, str] = {}
        self.lines: dict[str, tuple[str, ...]] = {}
        self.words: dict[str, str] = dict(_GRAMMAR)
        self.glossed: dict[str, str] = {}  # a word with its punctuation -> its gloss

    def __len__(self) -> int:
        return len(self.sentences) + len(self.guesses) + len(self.lines)

    def learn(self, english: str, spanish: str, sure: bool = True) -> None:
        """Take in one recorded turn; what was learnt first stays.

        Args:
            english: The turn as it was.
            spanish: Its recorded translation.
            sure: False where the recording is known to be damaged: it answers only what nothing else does.
        """
        for line, sentences, translations, paired in lay_side_by_side(english, spanish):
            good = sure and paired
            for sentence, translation in zip(sentences, translations, strict=True):
                self._learn_sentence(sentence, translation, self.sentences if good else self.guesses)
            if len(sentences) > 1 and (not good or list(map(self.sentences.get, sentences)) != translations):
                self.lines.setdefault(line, tuple(translations))

    def _learn_sentence(self, english: str, spanish: str, into: dict[str, str]) -> None:
        marker, mark = _MARKER.match(english), _MARKER.match(spanish)
        if marker and mark:
            english, spanish = english[marker.end() :], spanish[mark.end() :]
        label, tag = _LABEL.match(english), _LABEL.match(spanish)
        if label and tag:
            into.setdefault(label[2], tag[2])
            english, spanish = english[label.end() :], spanish[tag.end() :]
        if english and spanish:
            into.setdefault(english, spanish)
            pieces = _FINER.split(english)
            if len(pieces) > 1 and (shares := share_out(pieces, spanish)):
                for piece, share in zip(pieces, shares, strict=True):
                    self.guesses.setdefault(piece, share)

    def learn_words(self, most: int = 4_000) -> None:
        """Learn for each word its most faithful companion (Dice over the short sentences)."""
        short = (pair for pair in self.sentences.items() if len(pair[0]) < 90)
        english, spanish, both = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
        for pair in islice(short, most):
            left, right = (set(_WORD.findall(side.lower())) for side in pair)
            english.update(left)
            spanish.update(right)
            both.update((one, other) for one in left - self.words.keys() for other in right)
        best: dict[str, tuple[float, str]] = {}
        for (one, other), count in both.items():
            dice = 2 * count / (english[one] + spanish[other])
            if count > 1 and dice > 0.3 and one != other:
                best[one] = max(best.get(one, (0.0, "")), (dice, other))
        self.words |= {one: other for one, (_, other) in best.items()} | _GRAMMAR
        self.glossed.clear()

    def forget_pairs(self) -> None:
        """Keep the words only: the smallest memory, and an answer to everything all the same."""
        for table in (self.sentences, self.guesses, self.lines):
            table.clear()

    def answer(self, text: str) -> list[Segment]:
        """Translate a text, one segment per sentence; the ``orig`` of all, joined, are the text."""
        out: list[Segment] = []
        for line in _LINE.findall(text):
            body = line.strip()
            if translation := self.sentences.get(body):
                before, _, after = line.partition(body)
                out.append(Segment(f"{before}{translation}{after}", line, True))
                continue
            recorded = self.lines.get(body, ())
            for place, piece in enumerate(cut(line)):
                core = piece.strip()
                before, _, after = piece.partition(core) if core else (piece, "", "")
                found = recorded[place] if place < len(recorded) else self.find(core)
                translation = self.gloss(core) if found is None else found
                out.append(Segment(f"{before}{translation}{after}", piece, found is not None))
        return out

    def find(self, sentence: str) -> str | None:
        """What was recorded for a sentence: as it is, behind its marker, or as a join of known pieces."""
        found = self.sentences.get(sentence) or self.guesses.get(sentence)
        if found or not _WORD.search(sentence):
            return found or sentence
        if not self.guesses and not self.sentences:
            return None
        if marker := _MARKER.match(sentence):
            rest = self.find(sentence[marker.end() :])
            return rest and marker[0] + rest
        if label := _LABEL.match(sentence):
            name, rest = self.find(label[2]), self.find(sentence[label.end() :])
            return None if name is None or rest is None else label[1] + name + label[3] + rest
        pieces = _FINER.split(sentence)
        parts = [self.sentences.get(piece) or self.guesses.get(piece) for piece in pieces]
        return " ".join(map(str, parts)) if len(parts) > 1 and all(parts) else None

    def gloss(self, sentence: str) -> str:
        """Make up a translation: word by word, with numbers, quotes and punctuation as they were.

        Never empty, and never the sentence itself unless it holds no word but code and addresses.
        """
        # Word by word from a dict takes a fifth of one re.sub over the sentence; code may hold spaces.
        parts = [sentence] if "`" in sentence else sentence.split(" ")
        made = " ".join([self.glossed.get(part) or self._gloss_part(part) for part in parts])
        if made == sentence:
            made = _TOKEN.sub(lambda found: found[0] if _is_code(found[0]) else spell(found[0]), sentence)
        if sentence.endswith(("?", '?"')) and "¿" not in made:
            made = f'"¿{made[1:]}' if made.startswith('"') else f"¿{made}"
        return made

    def _gloss_part(self, part: str) -> str:
        if len(self.glossed) > 100_000:
            self.glossed.clear()
        # Sent to the real service, <image> came back as <imagen> in 11 % of the recorded rows.
        made = part.replace("<image>", "<imagen>")
        self.glossed[part] = _TOKEN.sub(lambda found: self._word(found[0]), made)
        return self.glossed[part]

    def _word(self, word: str) -> str:
        if _is_code(word):
            return word
        low = word.lower().replace("’", "'")
        made = self.words.get(low) or self.words.get(low.removesuffix("'s")) or spell(low.split("'")[0])
        if word.isupper() and len(word) > 1:
            return made.upper()
        return made[0].upper() + made[1:] if word[0].isupper() else made


def _is_code(token: str) -> bool:
    return token[0] in "<`" or "/" in token or token.startswith("www.")


def spell(word: str) -> str:
    """Write an unknown word so that it looks Spanish and is not the word."""
    for ending, other in _ENDINGS:
        if len(word) > len(ending) + 1 and word.endswith(ending):
            return word.removesuffix(ending) + other
    return word + "o"


def rows_from_parquet(path: Path, rows: int, spread: bool = False) -> Iterator[dict[str, Any]]:
    """Read rows of the recorded data set.

    Args:
        path: ``llava_instruct_en_es.parquet``.
        rows: How many; 0 reads all.
        spread: Every n-th row of the whole file instead of the first ones.

    Yields:
        ``row`` (position in the file), ``id``, ``image``, ``conversations``, ``translated``, ``flags``.
    """
    # A test's stand-in reads no Parquet and does without the 45 MB that this import takes.
    import pyarrow
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
        total = file.metadata.num_rows
        wanted = min(rows or total, total)
        step = total / wanted if spread else 1.0
        picked, start = 0, 0
        columns = ["id", "image", "conversations", "translated", "flags"]
        for batch in file.iter_batches(batch_size=500, columns=columns, use_threads=False):
            here = []
            while picked < wanted and int(picked * step) < start + batch.num_rows:
                here.append(int(picked * step) - start)
                picked += 1
            for place, row in zip(here, batch.take(here).to_pylist() if here else (), strict=True):
                yield {"row": start + place, **row}
            start += batch.num_rows
            if picked >= wanted:
                break
    pyarrow.default_memory_pool().release_unused()


def turns_from_parquet(path: Path, rows: int, spread: bool = False) -> Iterator[tuple[str, str, bool]]:
    """Read recorded turns: English, Spanish, and whether nothing was found wrong with the recording."""
    for row in rows_from_parquet(path, rows, spread):
        for turn, spanish, flags in zip(row["conversations"], row["translated"], row["flags"], strict=True):
            yield turn["value"], spanish, flags == 0


def pairs_from_parquet(path: Path, rows: int, spread: bool = False) -> Iterator[tuple[str, str]]:
    """Read recorded pairs of lines and of sentences, as a translation memory would hold them."""
    for english, spanish, _ in turns_from_parquet(path, rows, spread):
        for line, sentences, translations, _ in lay_side_by_side(english, spanish):
            yield line, " ".join(translations)
            if len(sentences) > 1:
                yield from zip(sentences, translations, strict=True)


def turns_from_jsonl(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Read turns written as ``{"en": …, "es": …}``, one a line."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            pair = json.loads(line)
            yield pair["en"], pair["es"], True


def load(turns: Iterable[tuple[str, str, bool]], light: bool = False) -> Recorded:
    """Learn turns, then the words.

    Args:
        turns: English, Spanish, sure.
        light: Keep the words only.
    """
    recorded = Recorded()
    for english, spanish, sure in turns:
        recorded.learn(english, spanish, sure)
    recorded.learn_words()
    if light:
        recorded.forget_pairs()
    return recorded
