"""`trasvase explain PATH ROW`: one row from source to result.

The translation is played again with the journal in place of the translators, through the very functions that
made it. So nothing is sent, and what is shown is what happened, as long as the journal is there.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from tasks.chunks.manifest import Manifest, read_manifest
from tasks.cli import explain_joke
from tasks.llava.checks import SOFT, Checks
from tasks.llava.chunk import read_chunk
from tasks.llava.conversation import Conversation, Turn
from tasks.llava.lexicon import Lexicon
from tasks.llava.memory import JournaledMemory, read_summary, reviewed_memory, summary_path
from tasks.llava.report import REJECTIONS
from tasks.llava.segments import Unit, cut, join, texts
from tasks.llava.translate import KEPT, REVIEWED, from_table, translate_rows
from tasks.llava.verify import HARD, verify_turn
from tasks.remote.journal import Answer, Journal
from tasks.settings import Settings
from tasks.storage.errors import PermanentError
from tasks.storage.root import DataRoot
from tasks.storage.schemas import CONVERSATIONS, LLAVA_REJECTED, TRANSLATIONS
from tasks.storage.schemas import REVIEWED as REVIEWED_TABLE
from tasks.storage.tables import open_parquet, origin, read_group, read_table
from tasks.translators.packing import questions

_NOT_THERE = "not in the journal"
_MEANING = {KEPT: ", nothing travels", REVIEWED: ", the text that people settled"}

_EPILOG = """\
PATH is a table, a chunk or a job's folder; ROW is the row's position in the source, from 0, as in the column
`row`. Delivered, rejected and unfinished rows alike.

examples:
  trasvase explain data/tables/llava-es.parquet 17
  trasvase explain data/tables/llava-es.rejected.parquet 1208
  trasvase explain data/tables/jokes.parquet 17
  trasvase explain data/jobs/translate-llava-3f2a9c01d2e4 17 --json | jq '.turns[].attempts'

exit codes: 0 explained; 1 a file is damaged; 2 no such file or row
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a turn.

    Args:
        translator: Name and version.
        attempt: 0, or 1 for each sentence in a request of its own.
        unit: What travelled on a line of its own.
        answers: For each text that travelled, the answer or the refusal.
        result: The turn put together; None where an answer is missing.
        faults: What must hold and does not, with which the next attempt begins.
    """

    translator: str
    attempt: int
    unit: str
    answers: Sequence[tuple[str, str | None, str | None]]
    result: str | None
    faults: Sequence[str]


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a reviewed table says of a turn.

    Args:
        text: The text that stands there.
        text_from: ``machine``, ``accepted``, ``edited`` or ``adjudicate``.
        by: Pseudonyms of who reviewed it.
        at: When, UTC.
    """

    text: str
    text_from: str
    by: Sequence[str]
    at: str | None


@dataclass(slots=True)
class TurnStory:
    """What became of one turn.

    Args:
        role: Who speaks.
        source: What is said.
        kept: What stayed at home, in order.
        settled: What reviewers had settled when the job was planned; None when they had not.
        remembered: What the memory holds; None without a memory or when it holds nothing.
        attempts: In the order in which they were made.
        translated: What is in the chunk; None when the turn failed or is still to do.
        translator: Who it is from.
        faults: What must hold and does not, in the translation as it stands.
        doubts: Code and measured value of each check that flags it.
        passed: Checks that found nothing.
        reviewed: What the reviewed table has, where that is the table asked about.
    """

    role: str
    source: str
    kept: Sequence[str]
    settled: str | None = None
    remembered: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    translated: str | None = None
    translator: str | None = None
    faults: Sequence[str] = ()
    doubts: Sequence[tuple[str, str]] = ()
    passed: Sequence[str] = ()
    reviewed: Reviewed | None = None


@dataclass(slots=True)
class Story:
    """A row from source to result.

    Args:
        row: Its position in the source.
        id: Of the source.
        image: Of the source.
        source: Path and SHA-256 of the file it came from.
        job: Folder of the job.
        chunk: Name of the chunk.
        outcome: ``delivered``, ``rejected`` or ``not done yet``.
        reason: Code of the rejection.
        message: The rejection in words.
        raw: The row as received, where it could not be used.
        turns: What became of each.
        not_run: Checks that this pair of languages, or so few rows, do not allow.
        same: Whether the journal gives today what the chunk holds; None where there is nothing to compare.
    """

    row: int
    id: str | None
    image: str | None
    source: Mapping[str, Any]
    job: str
    chunk: str
    outcome: str
    reason: str | None = None
    message: str | None = None
    raw: str | None = None
    turns: list[TurnStory] = field(default_factory=list)
    not_run: Sequence[str] = ()
    same: bool | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `trasvase explain`."""
    parser.description = "One row from source to result: what travelled, what came back, every check. Sends nothing."
    parser.epilog = _EPILOG
    parser.add_argument("path", metavar="PATH", type=Path, help="a table, a chunk or a job's folder")
    parser.add_argument("row", metavar="ROW", type=int, help="position in the source, from 0")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run_command=run)


def run(options: argparse.Namespace) -> int:
    """Print the story of a row; the exit code."""
    path = options.path.absolute()
    if explain_joke.is_of_jokes(path):
        row = explain_joke.row_of(path, options.row)
        lines = explain_joke.told(row, _block)
        print(json.dumps(row, indent=2, ensure_ascii=False) if options.json else "\n".join(lines))
        return 0
    story = explain(_job_of(path), options.row)
    if path.suffix == ".parquet":
        _add_reviews(story, path)
    if options.json:
        print(json.dumps(asdict(story), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_told(story)))
    return 0


def explain(manifest: Manifest, row: int) -> Story:
    """Find out what happened to a row.

    Args:
        manifest: The job that the row went through.
        row: Its position in the source, from 0.

    Raises:
        PermanentError: The job has no such row.
        TornFile: A file of the job is damaged.
    """
    if not 0 <= row < manifest.rows:
        raise PermanentError(f"There is no row {row}: {manifest.source.path} has the rows 0 to {manifest.rows - 1}.")
    chunk = manifest.chunks()[row // manifest.chunk_size]
    story = Story(row, None, None, asdict(manifest.source), str(manifest.folder), chunk.name, "not done yet")
    refused = read_table(manifest.rejected_path, LLAVA_REJECTED)
    for item in refused.filter(pc.equal(refused["row"], row)).to_pylist():
        story.outcome, story.reason = "rejected", item["error"]
        story.message, story.raw = item["message"], item["raw"]
        return story
    group = read_group(manifest.rows_path, CONVERSATIONS, chunk.number)
    conversation = next(each for each in from_table(group) if each.row == row)
    story.id, story.image = conversation.id, conversation.image
    done = manifest.done(chunk, TRANSLATIONS)
    items = read_chunk(manifest.path(chunk)).to_pylist() if done else []
    stored = next((item for item in items if item["row"] == row), None)
    if stored:
        story.outcome = "rejected" if stored["error"] else "delivered"
        story.reason, story.message = stored["error"], stored["message"]
    replay = _replay(conversation, manifest, DataRoot(manifest.folder.parent.parent))
    lexicon = replay.lexicon if replay and replay.lexicon else _lexicon(items)
    checks = Checks(manifest.parameters["source_language"], manifest.parameters["target"], lexicon)
    story.not_run = checks.not_run
    story.turns = [
        _turn(turn, number, stored, replay, checks, manifest.parameters["unit"])
        for number, turn in enumerate(conversation.turns)
    ]
    if stored and replay:
        story.same = [turn.translated for turn in story.turns] == replay.targets
    return story


def _add_reviews(story: Story, path: Path) -> None:
    """Where the table is a reviewed one, what it has in this row's turns."""
    with open_parquet(path) as file:
        if origin(file).get("schema") != REVIEWED_TABLE.name:
            return
    table = read_table(path, REVIEWED_TABLE, ["row", "translated", "text_from", "reviewed_by", "reviewed_at"])
    for item in table.filter(pc.equal(table["row"], story.row)).to_pylist():
        columns = (item[name] for name in ("translated", "text_from", "reviewed_by", "reviewed_at"))
        for told, turn, text_from, by, at in zip(story.turns, *columns, strict=True):
            when = f"{at:%Y-%m-%d %H:%M} UTC" if at else None
            told.reviewed = Reviewed(turn["value"], text_from, by or [], when)


def _turn(
    turn: Turn,
    number: int,
    stored: Mapping[str, Any] | None,
    replay: Replay | None,
    checks: Checks,
    unit: Unit,
) -> TurnStory:
    told = TurnStory(turn.role, turn.value, [span.text for span in cut(turn.value, unit) if span.kept])
    if replay:
        told.settled = replay.settled.get(turn.value)
        told.remembered = replay.remembered.get(turn.value)
        told.attempts = [each for engine in replay.engines for each in _attempts(turn.value, unit, engine)]
    if stored and stored["translated"][number]["value"] is not None:
        told.translated = stored["translated"][number]["value"]
        told.translator, codes = stored["translator"][number], stored["turn_checks"][number]
        told.faults = verify_turn(turn.value, told.translated)
        measured = {each.code: each.detail for each in checks.findings(turn.value, told.translated)}
        told.doubts = [(code, measured.get(code, "not found by today's checks")) for code in codes]
        told.passed = sorted(SOFT.keys() - set(codes) - set(checks.not_run))
    return told


def _job_of(path: Path) -> Manifest:
    """The job that a table, a chunk or a folder belongs to.

    Raises:
        PermanentError: It belongs to none, or the job's folder is gone.
    """
    if not path.exists():
        raise PermanentError(f"{path} does not exist. Give a table, a chunk or a job's folder.")
    folder = path
    if path.suffix == ".json":
        path = path.with_suffix(".parquet")
    if path.is_file():
        with open_parquet(path) as file:
            job = str(origin(file).get("job", ""))
        if not job:
            raise PermanentError(f"{path} was not made by a job of this project, so there is nothing to explain.")
        beside = (parent / "jobs" / job for parent in (path.parent.parent, Settings().data))
        inside = (parent for parent in path.parents if parent.name == job)
        folder = next((each for each in (*inside, *beside) if each.is_dir()), path.parent.parent / "jobs" / job)
    manifest = read_manifest(folder)
    if manifest is None:
        raise PermanentError(f"{folder} is no job's folder, or the job is gone. Run the flow again: it is made anew.")
    return manifest


class Played:
    """A translator's answers, out of the journal alone; remembers what was asked.

    Args:
        name: Name and version of the translator.
        journal: Where the answers are.
        source: Language of the texts.
        target: Language of the answers.
    """

    paid = False

    def __init__(self, name: str, journal: Journal, source: str, target: str) -> None:
        self.name = name
        self.asked: list[tuple[int, dict[str, Answer]]] = []  # attempt, answers
        self._journal = journal
        self._languages = (source, target)

    def ask(
        self, texts: Iterable[str], *, job: str, attempt: int = 0, fresh: str = "", starts: Collection[str] = ()
    ) -> dict[str, Answer]:
        """The stored answers; a refusal where there is none."""
        keys = questions(self.name, *self._languages, attempt, list(texts))
        known = self._journal.get(list(keys.values()))
        answers = {text: known.get(key, Answer(None, _NOT_THERE)) for text, key in keys.items()}
        self.asked.append((attempt, answers))
        return answers


@dataclass(frozen=True, slots=True)
class Replay:
    """A row played again.

    Args:
        engines: The translators, with what they were asked.
        settled: What reviewers had settled, by turn.
        remembered: What the memory holds, by turn.
        targets: What came of each turn.
        lexicon: Of the memory, if there is one.
    """

    engines: Sequence[Played]
    settled: Mapping[str, str]
    remembered: Mapping[str, str]
    targets: Sequence[str | None]
    lexicon: Lexicon | None


def _replay(conversation: Conversation, manifest: Manifest, root: DataRoot) -> Replay | None:
    """Translate the row out of the journal; None where there is no journal."""
    path = root.journal / "answers.sqlite"
    if not path.exists():
        return None
    asked = manifest.parameters
    source, target = asked["source_language"], asked["target"]
    journal = Journal(path)
    engines = [Played(name, journal, source, target) for name in manifest.versions["translators"].split(", ")]
    memories: list[JournaledMemory] = []
    if asked.get("corrections"):  # no such parameter in jobs of before
        memories.append(reviewed_memory(journal, asked["corrections"], source, target))
    if asked["memory"]:
        lexicon = Lexicon.from_json(read_summary(summary_path(root.journal, asked["memory"], source, target)).lexicon)
        memories.append(JournaledMemory(journal, asked["memory"], source, target, lexicon))
    (played,) = translate_rows(
        [conversation],
        engines,
        job=manifest.job,
        languages=(source, target),
        unit=asked["unit"],
        memories=memories,
    )
    values = [turn.value for turn in conversation.turns]
    held = {memory.name: {value: known.text for value, known in memory.recall(values).items()} for memory in memories}
    journal.close()
    return Replay(
        engines,
        held.pop(REVIEWED, {}),
        next(iter(held.values()), {}),
        [turn.target for turn in played.turns],
        next((memory.lexicon for memory in memories if memory.lexicon), None),
    )


def _lexicon(items: Sequence[Mapping[str, Any]]) -> Lexicon:
    """What a chunk was graded with where there is no memory: what its own turns teach."""
    turns = [pair for item in items for pair in zip(item["conversations"], item["translated"], strict=True)]
    pairs = {source["value"]: target["value"] for source, target in turns if target["value"] is not None}
    return Lexicon.learn(pairs.items())


def _attempts(value: str, unit: Unit, engine: Played) -> Iterator[Attempt]:
    for number, answers in engine.asked:
        used: Unit = unit if number == 0 else "sentence"
        spans = cut(value, used)
        asked = texts(spans)
        if not asked or not answers.keys() >= set(asked):
            continue
        complete = all(answers[text].text is not None for text in asked)
        result = join(spans, {text: answers[text].text or "" for text in asked}) if complete else None
        yield Attempt(
            engine.name,
            number,
            used,
            [(text, answers[text].text, answers[text].refusal) for text in asked],
            result,
            [] if result is None else verify_turn(value, result),
        )


def _told(story: Story) -> Iterator[str]:
    """The story for a terminal."""
    yield f"row {story.row}   id {story.id}   image {story.image}"
    yield f"  source   {story.source['path']}"
    yield f"           SHA-256 {story.source['sha256']}"
    yield f"  job      {story.job}"
    yield f"  chunk    {story.chunk}"
    yield f"  outcome  {story.outcome}"
    if story.reason:
        yield f"  reason   {story.reason}: {REJECTIONS.get(story.reason, '')}"
        yield f"           {story.message}"
    if story.raw is not None:
        yield from _block("as received", story.raw)
        yield "  next     mend the row in the source, run the flow again: only what is new is asked"
    for number, turn in enumerate(story.turns):
        yield ""
        yield from _told_turn(number, turn, story)
    if story.same is False:
        yield "\nThe journal no longer gives what the chunk holds: answers were asked again, or are gone."


def _told_turn(number: int, turn: TurnStory, story: Story) -> Iterator[str]:
    yield f"turn {number}, {turn.role}"
    yield from _block("source", turn.source)
    if turn.kept:
        yield f"  stayed at home   {'  '.join(map(repr, turn.kept))}"
    if turn.settled is not None:
        yield from _block("settled by people", turn.settled)
    if turn.remembered is not None:
        yield from _block("in the memory", turn.remembered)
    for attempt in turn.attempts:
        how = f"by {attempt.unit}, attempt {attempt.attempt}"
        yield f"  asked            {attempt.translator}, {how}, {len(attempt.answers)} texts"
        for text, answer, refusal in attempt.answers:
            yield from _block("", text)
            yield from _block("", f"→ {answer}" if refusal is None else f"✗ {refusal}")
        if attempt.faults:
            faults = "; ".join(f"{code}: {HARD[code]}" for code in attempt.faults)
            yield from _block("does not hold", faults)
    if turn.translated is None:
        yield f"  result           none{'' if story.outcome == 'rejected' else ' yet'}"
        return
    yield from _block("result", turn.translated)
    yield f"  from             {turn.translator}{_MEANING.get(turn.translator or '', '')}"
    yield from _block("must hold", "; ".join(turn.faults) or f"all of {', '.join(sorted(HARD))} hold")
    for code, detail in turn.doubts:
        yield from _block("doubt", f"{code}: {detail}")
    yield from _block("no doubt", ", ".join(turn.passed))
    if story.not_run:
        yield f"  not run          {', '.join(story.not_run)}"
    if reviewed := turn.reviewed:
        who = f" by {', '.join(reviewed.by)}" if reviewed.by else ""
        yield f"  reviewed         {reviewed.text_from}{who}{f', {reviewed.at}' if reviewed.at else ''}"
        if reviewed.text != turn.translated:
            yield from _block("reviewed text", reviewed.text)


def _block(name: str, text: str) -> Iterator[str]:
    """A name, then text with its line breaks made visible, as wide as a page."""
    shown = text.replace("\n", "⏎\n")
    lines = [piece for line in shown.split("\n") for piece in textwrap.wrap(line, 90) or [""]]
    for at, line in enumerate(lines):
        yield f"  {name if at == 0 else '':15}  {line}".rstrip()
