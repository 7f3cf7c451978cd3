"""The steps of the review loop, as tasks: read, call the library, write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.chunks.lock import only_run
from tasks.options import LOCAL, REMOTE
from tasks.plan import shown
from tasks.reviews.records import Desk, Refused, Response, ReviewTurn, review_name
from tasks.settings import Settings, argilla_access
from tasks.storage.errors import PermanentError, TornFile
from tasks.storage.files import write_bytes
from tasks.storage.root import DataRoot

if TYPE_CHECKING:
    from tasks.reviews.history import History
    from tasks.reviews.images import Images
    from tasks.reviews.merge import Merged

To = Literal["auto", "argilla", "pack"]
_DRAWN = "drawn.json"
_MERGED = "merged.json"
_LANGUAGES = "languages.json"
_PUSHED = "pushed.json"
_NAMED = 50  # refused records and answers in an artifact


class Review(NamedTuple):
    """One table under review."""

    table: Path
    name: str

    @property
    def folder(self) -> Path:
        """Packs, answers that came back, and the lock."""
        return DataRoot(Settings().data).reviews / self.name

    def path(self, what: str) -> Path:
        """A table that the review leaves, such as ``tables/llava-es-reviewed.parquet``."""
        return DataRoot(Settings().data).tables / f"{self.name}-{what}.parquet"


def find_review(table: Path, dataset: str) -> Review | None:
    """The table that is meant: a path, or a name under ``tables/``; None where there is none yet.

    Raises:
        PermanentError: The review's name cannot be a file's.
    """
    for path in (table, DataRoot(Settings().data).tables / f"{table}.parquet"):
        if path.is_file():
            return Review(path.absolute(), review_name(dataset or path.stem))
    return None


def nothing_to_do(reason: str) -> State[Any]:
    """End a flow run as Completed, seen as "Skipped" with its reason: a schedule or a trigger came too early."""
    return Completed(name="Skipped", message=reason)


@contextmanager
def working_on(review: Review, what: str) -> Iterator[None]:
    """One run at a time pushes a review, one pulls it."""
    with only_run(review.folder / what):
        yield


@task(task_run_name="choose", **LOCAL)
def choose_turns(review: Review, sample: int, audit: int, seed: int) -> list[ReviewTurn]:
    """The turns of the worst rows, and of rows drawn at random."""
    from tasks.reviews.choose import choose

    _languages(review)
    turns = choose(review.table, review.name, sample, audit, seed)
    audited = sum(turn.part == "audit" for turn in turns)
    get_run_logger().info("%d turns to show, %d of them drawn at random.", len(turns), audited)
    return turns


@task(task_run_name="push", **REMOTE)
def push_turns(
    review: Review, turns: Sequence[ReviewTurn], to: To, images: str, overlap: int | None, workspace: str
) -> str:
    """Show the turns; what is there already is left alone."""
    from tasks.reviews.images import Images

    pushed_before = _pushed_before(review)
    images, workspace = images or pushed_before.images, workspace or pushed_before.workspace
    logger, pictures = get_run_logger(), Images(images)
    desk = None if to == "pack" else _argilla(review, workspace, pictures, overlap)
    if desk is None and to == "argilla":
        raise PermanentError(
            "No Argilla is configured. Type `make argilla`, or set ARGILLA_API_URL and ARGILLA_API_KEY."
        )
    desk = desk or _pack(review, pictures)
    if (now := _PushedBefore(images, workspace)) != pushed_before:
        write_bytes(review.folder / _PUSHED, json.dumps(now._asdict(), ensure_ascii=False).encode())
    pushed = desk.push(turns, lambda done, of: logger.info("%d of %d records", done, of))
    _remember_drawn(review, turns)
    told = f"{pushed.added} records new, {pushed.updated} shown anew, {pushed.unchanged} left alone"
    logger.info("%s, %d refused. Review here: %s", told, len(pushed.refused), pushed.where)
    there = re.sub(r"(https?://\S+)", r"<\1>", pushed.where)
    shown(create_markdown_artifact, key=f"review-here-{review.name}", markdown=f"{told}. Review here: {there}")
    problems = [Refused(name, reason) for name, reason in pictures.problems.items()]
    _show_refused(
        "not-pushed", "Records that were not taken, and images that cannot be shown.", [*pushed.refused, *problems]
    )
    return pushed.where


@task(task_run_name="pull", **REMOTE)
def pull_responses(review: Review, workspace: str) -> History:
    """Fetch all answers and add what is new to the responses table."""
    from tasks.reviews.history import add_responses
    from tasks.reviews.images import Images

    nothing = Images("")
    desks = [desk for desk in (_argilla(review, workspace, nothing), _pack(review, nothing)) if desk]
    found = [each for desk in desks for each in desk.responses()]
    history = add_responses(review.path("responses"), [each for each in found if isinstance(each, Response)])
    refused = [each for each in found if isinstance(each, Refused)]
    get_run_logger().info(
        "%d answers, %d versions of them new, %d that belong to nothing of ours.",
        len(history.latest),
        history.added,
        len(refused),
    )
    _show_refused("refused-answers", "Answers that cannot be used; they stay where they were given.", refused)
    return history


def found_by(review: Review, history: History) -> list[Any]:
    """What a merge is made from: program and files, as they are before it."""
    return [version("trasvase"), *_seen([review.table, history.path, review.folder / _DRAWN])]


def is_merged(review: Review, found: list[Any]) -> bool:
    """Whether the last whole pull was made from these very files, and what it left is as it was left.

    Not told by which file is younger: a table put back from a backup, or moved here, is older than what it replaces.
    """
    path = review.folder / _MERGED
    try:
        return bool(json.loads(path.read_bytes()) == [found, _seen(left(review).values())])
    except (FileNotFoundError, ValueError):
        return False


def remember_merged(review: Review, found: list[Any]) -> dict[str, Path]:
    """Write down, last of all, that this has been merged."""
    write_bytes(review.folder / _MERGED, json.dumps([found, _seen(left(review).values())]).encode())
    return left(review)


def _seen(paths: Iterable[Path]) -> list[list[Any]]:
    stats = [(path, path.stat() if path.is_file() else None) for path in paths]
    return [[str(path), stat and [stat.st_size, stat.st_mtime_ns, stat.st_ino]] for path, stat in stats]


@task(task_run_name="merge", **LOCAL)
def merge_reviews(review: Review, history: History) -> Merged:
    """People's texts into the reviewed table and into the translation memory."""
    from tasks.llava.corrections import Correction, add_corrections
    from tasks.llava.translate import REVIEWED
    from tasks.llava.verify import HARD, verify_turn
    from tasks.reviews.merge import read_remembered, read_turns, settle, settle_shown, write_open, write_reviewed

    memory = _memory(review)
    answered = {response.row for response in history.latest}
    remembered = read_remembered(review.table, answered, REVIEWED)
    merged = settle(read_turns(review.table, answered), history.latest, verify_turn, HARD, remembered)
    write_reviewed(review.table, merged, review.path("reviewed"))
    write_open(merged, review.path("open"))
    corrections = [
        Correction(each.original, each.text, each.text_from, each.by, each.at, review.name, each.row, each.turn)
        for each in settle_shown(history.latest, verify_turn)
        if each.text_from in ("accepted", "edited")
    ]
    add_corrections(memory, corrections, review.name)
    get_run_logger().info(
        "%d turns answered, %d to adjudicate, %d broken corrections, %d answers to texts that have changed since; "
        "%d texts for the memory.",
        len(merged.settled),
        len(merged.open),
        len(merged.broken),
        len(merged.stale),
        len(corrections),
    )
    return merged


@task(task_run_name="send back", **REMOTE)
def send_back_broken(review: Review, workspace: str, merged: Merged) -> int:
    """Put corrections that break a text on their reviewers' lists again."""
    from tasks.reviews.images import Images

    nothing = Images("")
    packed = [each for each in merged.broken if each[0].origin.startswith("pack:")]
    typed = [each for each in merged.broken if not each[0].origin.startswith("pack:")]
    desk = _argilla(review, workspace, nothing) if typed else None
    sent = desk.send_back(typed) if desk else 0
    if packed:
        pack = _pack(review, nothing)
        if returned := pack.send_back(packed):
            pack.push([], lambda done, of: None)  # the next one to open the pack sees the reason
            sent += returned
    get_run_logger().info("%d corrections went back to their reviewers.", sent)
    return sent


@task(task_run_name="report", **LOCAL)
def report_reviews(review: Review, history: History, merged: Merged) -> Path:
    """Say how far reviewers agree and how often the machine errs, as HTML with plots and as a Markdown artifact."""
    from tasks.reviews.report import write_review_report

    report = write_review_report(
        _report_folder(review), review.name, history, merged, review.path("open"), _drawn(review)
    )
    shown(create_markdown_artifact, key=f"review-{review.name}", markdown=report.markdown)
    get_run_logger().info("Report: %s", report.html)
    return report.html


def left(review: Review) -> dict[str, Path]:
    """What a pull leaves."""
    return {
        "responses": review.path("responses"),
        "reviewed": review.path("reviewed"),
        "open": review.path("open"),
        "memory": _memory(review),
        "report": _report_folder(review) / "report.html",
    }


def _report_folder(review: Review) -> Path:
    return DataRoot(Settings().data).reports / f"review-{review.name}"


class _PushedBefore(NamedTuple):
    """What a push that does not name it takes from the last one: one that is triggered names nothing."""

    images: str = ""
    workspace: str = "trasvase"


def _pushed_before(review: Review) -> _PushedBefore:
    path = review.folder / _PUSHED
    try:
        return _PushedBefore(**json.loads(path.read_bytes())) if path.is_file() else _PushedBefore()
    except (ValueError, TypeError) as error:
        raise TornFile(
            f"{path} is damaged ({error}). Move it away and push again, with `images` and `workspace` where they were "
            "given."
        ) from error


def _remember_drawn(review: Review, turns: Sequence[ReviewTurn]) -> None:
    """Which turns were ever drawn at random: what the error rate's answers are a part of."""
    known, drawn = _drawn(review), {(turn.row, turn.turn) for turn in turns if turn.part == "audit"}
    # A push without an audit does not make an unknown draw an empty one.
    if drawn - (known or set()):
        write_bytes(review.folder / _DRAWN, json.dumps(sorted(drawn | (known or set()))).encode())


def _drawn(review: Review) -> set[tuple[int, int]] | None:
    path = review.folder / _DRAWN
    try:
        return {(row, turn) for row, turn in json.loads(path.read_bytes())} if path.is_file() else None
    except (ValueError, TypeError) as error:
        raise TornFile(f"{path} is damaged ({error}). Move it away and push again: it is made anew.") from error


def _argilla(review: Review, workspace: str, images: Images, overlap: int | None = None) -> Desk | None:
    from tasks.reviews.argilla_desk import ArgillaDesk

    access = argilla_access(Settings())
    if access is None:
        return None
    workspace = workspace or _pushed_before(review).workspace
    return ArgillaDesk(access.url, access.key.get_secret_value(), workspace, review.name, images, overlap)


def _pack(review: Review, images: Images) -> Desk:
    from tasks.reviews.pack import Pack

    return Pack(review.folder, review.name, images)


def _memory(review: Review) -> Path:
    """The memory of the review's pair of languages."""
    from tasks.llava.corrections import memory_path

    return memory_path(DataRoot(Settings().data).memory, *_languages(review))


def _languages(review: Review) -> tuple[str, str]:
    """The table's pair of languages, which its provenance names and which the review keeps to.

    Raises:
        PermanentError: The provenance is missing or damaged, or the review is one of other languages.
    """
    provenance = review.table.with_suffix(".provenance.json")
    try:
        asked = json.loads(provenance.read_bytes())["parameters"]
        pair = [str(asked["source_language"]), str(asked["target"])]
    except FileNotFoundError:
        raise PermanentError(
            f"{provenance} is missing: it names the languages of {review.table}. Run translate-llava."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(
            f"{provenance} does not name the languages of {review.table} ({error}). Move it away and run translate-llava: "
            "it is written anew."
        ) from error
    path = review.folder / _LANGUAGES
    try:
        known = [str(code) for code in json.loads(path.read_bytes())]
    except (FileNotFoundError, ValueError, TypeError):
        write_bytes(path, json.dumps(known := pair).encode())
    if known != pair:  # the answers would be settled, and go into the memory, as if they were in these languages
        raise PermanentError(
            f"The review {review.name!r} is one of {' into '.join(known)}, and {review.table} is {' into '.join(pair)}. "
            "Give it a review of its own (`dataset`). Nothing was changed."
        )
    return pair[0], pair[1]


def _show_refused(key: str, description: str, refused: Sequence[Refused]) -> None:
    if refused:
        rows = [{"what": each.id, "reason": each.reason} for each in refused[:_NAMED]]
        shown(create_table_artifact, key=key, table=rows, description=f"{description} {len(refused)} in all.")
