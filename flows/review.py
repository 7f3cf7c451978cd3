"""People correct translations: push what is worth a look, pull what they answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.plan import check_restarts, nothing_to_do, patient
from tasks.review import (
    To,
    choose_turns,
    find_review,
    found_by,
    is_merged,
    left,
    merge_reviews,
    pull_responses,
    push_turns,
    remember_merged,
    report_reviews,
    send_back_broken,
    working_on,
)


@flow(name="push-translations")
def push_translations(
    table: Path = Path("llava-es"),
    dataset: str = "",
    sample: int = 200,
    audit: int = 100,
    to: To = "auto",
    images: str = "",
    overlap: int | None = None,
    seed: int = 0,
    workspace: str = "",
    restarts: int = 0,
) -> str | State[Any]:
    """Show translations to reviewers: the worst by the checks, and some at random. Pushing again adds only what is new.

    Args:
        table: A table of translate-llava: its name under tables/, such as "llava-es", or a path.
        dataset: Name of the review; the table's name when empty.
        sample: Rows with the worst checks.
        audit: Rows drawn at random; from these the error rate is published.
        to: argilla, a pack (one HTML file), or auto: Argilla where one is configured.
        images: Folder of the images, or an address with {image} in it such as
            "http://images.cocodataset.org/train2017/{image}"; as in the last push when empty, else no image is shown.
        overlap: Answers that an audited turn waits for: 2 in a new review when empty.
        seed: Of the random rows.
        workspace: Argilla's workspace; as in the last push when empty, "trasvase" in a new review.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        Where to review: an address, or the pack's path. Skipped where there is no such table.
    """
    check_restarts(restarts)
    review = find_review(table, dataset)
    if review is None:
        return nothing_to_do(f"There is no table {table} yet. Run translate-llava, or correct `table`.")
    with working_on(review, "push"):
        turns = choose_turns(review, sample, audit, seed)
        return patient(push_turns)(review, turns, to, images, overlap, workspace)


@flow(name="pull-reviews")
def pull_reviews(
    table: Path = Path("llava-es"),
    dataset: str = "",
    workspace: str = "",
    restarts: int = 0,
) -> dict[str, Path] | State[Any]:
    """Fetch what reviewers answered, merge it, remember it, and report how far they agree.

    Reads Argilla where one is configured, and the answer files under reviews/<dataset>/answers/.

    Args:
        table: The table that was pushed: its name under tables/, or a path.
        dataset: Name of the review; the table's name when empty.
        workspace: Argilla's workspace; as in the last push when empty.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        Paths of the responses, the reviewed table, what is open, the memory and the report. Skipped where there is no such
        table, or no answer yet.
    """
    check_restarts(restarts)
    review = find_review(table, dataset)
    if review is None:
        return nothing_to_do(f"There is no table {table} yet. Run translate-llava, or correct `table`.")
    with working_on(review, "pull"):
        history = patient(pull_responses)(review, workspace)
        if not history.latest:
            return nothing_to_do("Nobody has answered yet.")
        found, leaves = found_by(review), left(review)
        if is_merged(review, found, leaves.values()):
            return leaves
        merged = merge_reviews(review, history)
        patient(send_back_broken)(review, workspace, merged)
        report_reviews(review, history, merged)
        remember_merged(review, found, leaves.values())
        return leaves
