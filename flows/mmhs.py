"""MMHS150K and its kin into one table."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from tasks.plan import check_name, check_restarts
from tasks.prepare import Votes, prepare_table


@flow(name="prepare-mmhs")
def prepare_mmhs(source: Path, votes: Votes = "union", name: str = "mmhs", restarts: int = 0) -> Path:
    """Read MMHS150K, the predecessor's CSV files or Hateful Memes into one table with votes, labels and official splits.

    Args:
        source: The zip or folder as downloaded, a .csv or a .jsonl, as the worker sees it.
        votes: union: a label is there when one of three annotators gave it. majority: when two did.
        name: Stem of the tables' names, such as "mmhs" in tables/mmhs.parquet.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        The table of rows that can be used; the others stand beside it with their reasons.
    """
    check_restarts(restarts)
    check_name(name)
    return prepare_table(source, votes, name).table
