"""A table into training, validation and test data that share nothing."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from tasks.plan import check_restarts, find_table
from tasks.split import Official, split_table


@flow(name="build-splits")
def build_splits(
    table: Path,
    name: str = "",
    group_by: str | list[str] = "image",
    seed: int = 0,
    validation: float = 0.1,
    test: float = 0.1,
    distance: int = 6,
    official: Official = "keep",
    stratify: bool = False,
    label: str = "",
    licence: str = "",
    keep: str = "",
    restarts: int = 0,
) -> Path:
    """Freeze a version of a dataset whose splits share no group, with a certificate and a Hugging Face card.

    Args:
        table: Any table: its name under tables/, such as "llava-es-reviewed", or a path.
        name: Of the dataset; the table's when empty.
        group_by: Column whose equal values stay in one split, such as image (of read-memes' table: equal bytes) or
            routine; or a list of columns.
        seed: Another seed is another split; a group's split depends on seed and group alone.
        validation: Share of the groups for validation; 0 to do without.
        test: Share of the groups for the test.
        distance: Bits of 64 in which perceptual hashes of one image may differ, where the table has a column phash.
        official: keep the table's own splits; clean them of rows whose group is also in the test; or ignore them.
        stratify: Put labels in proportion exactly. Added rows may then move groups.
        label: Column with the labels; labels or label when empty.
        licence: Of the source, such as cc-by-nc-4.0; what the table's provenance says when empty.
        keep: Column of true and false that says which rows are taken, such as keep; all when empty.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        The version's folder.
    """
    check_restarts(restarts)
    path = find_table(table)
    return split_table(
        path,
        name or path.stem,
        group_by,
        seed=seed,
        validation=validation,
        test=test,
        distance=distance,
        official=official,
        stratify=stratify,
        label=label,
        licence=licence,
        keep=keep,
    )
