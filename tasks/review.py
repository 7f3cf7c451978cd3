"""The steps of the review loop, as tasks: read, call the library, write."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.chunks.lock import only_run
from tasks.options import LOCAL, REMOTE
from tasks.plan import shown
from tasks.reviews.records import Desk, Pushed, Refused, Response, ReviewTurn
from tasks.reviews.state import (
    PushedWith,
    Review,
    drawn,
    find,
    found_by,
    is_merged,
    languages,
    pushed_with,
    remember_drawn,
    remember_merged,
    remember_pushed,
)
from tasks.settings import Settings, argilla_access
from tasks.storage.errors import PermanentError
from tasks.storage.root import DataRoot

if TYPE_CHECKING:
    from tasks.llava.corrections import Correction
    from tasks.reviews.history import History
    from tasks.reviews.images import Images
    from tasks.reviews.merge import Merged

__all__ = [
    "To",
    "choose_turns",
    "find_review",
    "found_by",
    "is_merged",
    "left",
    "merge_reviews",
    "pull_responses",
    "push_turns",
    "remember_merged",
    "report_reviews",
    "send_back_broken",
    "working_on",
]

To = Literal["auto", "argilla", "pack"]
_NAMED = 50  # refused records and answers in an artifact
_TELL_SECONDS = 10  # between two lines of progress


def find_review(table: Path, dataset: str) -> Review | None:
    """The table that is meant, under our data root; None where there is none yet."""
    return find(table, dataset, DataRoot(Settings().data))


@contextmanager
def working_on(review: Review, what: str) -> Iterator[None]:
    """One run at a time pushes a review, one pulls it."""
    with only_run(review.folder / what):
        yield


@task(task_run_name="choose", **LOCAL)
def choose_turns(review: Review, sample: int, audit: int, seed: int) -> list[ReviewTurn]:
    """The turns of the worst rows, and of rows drawn at random."""
    from tasks.reviews.choose import choose

    languages(review)
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

    last = pushed_with(review)
    now = PushedWith(images or last.images, workspace or last.workspace)
    pictures = Images(now.images)
    desk = _desk(review, to, now.workspace, pictures, overlap)
    remember_pushed(review, now)
    pushed = desk.push(turns, _progress())
    remember_drawn(review, turns)
    _show_pushed(review, pushed, pictures.problems)
    return pushed.where


def _progress() -> Callable[[int, int], None]:
    """How far a push has come, in the log, where it takes time."""
    logger, told = get_run_logger(), time.monotonic()

    def tell(done: int, of: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            logger.info("%s of %s records", f"{done:,}", f"{of:,}")

    return tell


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
    told = "%d answers, %d versions of them new, %d that belong to nothing of ours."
    get_run_logger().info(told, len(history.latest), history.added, len(refused))
    _show_refused("refused-answers", "Answers that cannot be used; they stay where they were given.", refused)
    return history


@task(task_run_name="merge", **LOCAL)
def merge_reviews(review: Review, history: History) -> Merged:
    """People's texts into the reviewed table and into the translation memory."""
    from tasks.llava.corrections import add_corrections
    from tasks.llava.translate import REVIEWED
    from tasks.llava.verify import HARD, verify_turn
    from tasks.reviews.merge import settle_table, write_open, write_reviewed

    memory = _memory(review)
    merged = settle_table(review.table, history.latest, verify_turn, HARD, REVIEWED)
    write_reviewed(review.table, merged, review.path("reviewed"))
    write_open(merged, review.path("open"))
    corrections = _corrections(review, history)
    add_corrections(memory, corrections, review.name)
    told = "%d turns answered, %d to adjudicate, %d broken corrections, %d answers to texts that have changed since; "
    counts = (len(each) for each in (merged.settled, merged.open, merged.broken, merged.stale, corrections))
    get_run_logger().info(told + "%d texts for the memory.", *counts)
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

    report = write_review_report(review.report, review.name, history, merged, review.path("open"), drawn(review))
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
        "report": review.report / "report.html",
    }


def _memory(review: Review) -> Path:
    """The memory of the review's pair of languages."""
    from tasks.llava.corrections import memory_path

    return memory_path(review.root.memory, *languages(review))


def _corrections(review: Review, history: History) -> list[Correction]:
    """What the memory takes from a review."""
    from tasks.llava.corrections import Correction
    from tasks.llava.verify import verify_turn
    from tasks.reviews.merge import settle_shown

    return [
        Correction(each.original, each.text, each.text_from, each.by, each.at, review.name, each.row, each.turn)
        for each in settle_shown(history.latest, verify_turn)
        if each.text_from in ("accepted", "edited")
    ]


def _desk(review: Review, to: To, workspace: str, images: Images, overlap: int | None) -> Desk:
    """Where to push: Argilla where one is configured and no pack is asked for."""
    desk = None if to == "pack" else _argilla(review, workspace, images, overlap)
    if desk is None and to == "argilla":
        raise PermanentError(
            "No Argilla is configured. Type `make argilla`, or set ARGILLA_API_URL and ARGILLA_API_KEY."
        )
    return desk or _pack(review, images)


def _argilla(review: Review, workspace: str, images: Images, overlap: int | None = None) -> Desk | None:
    from tasks.reviews.argilla_desk import ArgillaDesk

    access = argilla_access(Settings())
    if access is None:
        return None
    workspace = workspace or pushed_with(review).workspace
    return ArgillaDesk(access.url, access.key.get_secret_value(), workspace, review.name, images, overlap)


def _pack(review: Review, images: Images) -> Desk:
    from tasks.reviews.pack import Pack

    return Pack(review.folder, review.name, images)


def _show_pushed(review: Review, pushed: Pushed, without_image: Mapping[str, str]) -> None:
    told = f"{pushed.added} records new, {pushed.updated} shown anew, {pushed.unchanged} left alone"
    get_run_logger().info("%s, %d refused. Review here: %s", told, len(pushed.refused), pushed.where)
    there = re.sub(r"(https?://\S+)", r"<\1>", pushed.where)
    shown(create_markdown_artifact, key=f"review-here-{review.name}", markdown=f"{told}. Review here: {there}")
    problems = [Refused(name, reason) for name, reason in without_image.items()]
    _show_refused(
        "not-pushed", "Records that were not taken, and images that cannot be shown.", [*pushed.refused, *problems]
    )


def _show_refused(key: str, description: str, refused: Sequence[Refused]) -> None:
    if refused:
        rows = [{"what": each.id, "reason": each.reason} for each in refused[:_NAMED]]
        shown(create_table_artifact, key=key, table=rows, description=f"{description} {len(refused)} in all.")
