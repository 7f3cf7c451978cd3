"""Data sets as downloaded into tables, as tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact

from tasks.chunks.lock import only_run
from tasks.mmhs.source import REASONS, Votes
from tasks.options import LOCAL
from tasks.plan import shown
from tasks.settings import Settings
from tasks.storage.root import DataRoot

if TYPE_CHECKING:
    from tasks.mmhs.prepare import Prepared

__all__ = ["Votes", "prepare_table"]


@task(task_run_name="prepare", **LOCAL)
def prepare_table(source: Path, votes: Votes, name: str) -> Prepared:
    """Read the data set into its table; name what is refused."""
    from tasks.mmhs.prepare import prepare

    root = DataRoot(Settings().data)
    with only_run(root.run / f"prepare-{name}"):
        prepared = prepare(source, root.tables, name, votes)
    get_run_logger().info(
        "%d rows: %d in %s (%s), %d refused. Labels: %s.",
        prepared.rows,
        prepared.delivered,
        prepared.table,
        _told(prepared.splits),
        prepared.errors.total(),
        _told(prepared.labels),
    )
    if prepared.errors:
        rows = [
            {"reason": code, "rows": n, "what it means": REASONS[code]} for code, n in prepared.errors.most_common()
        ]
        shown(
            create_table_artifact,
            key=f"refused-{name}".lower(),
            table=rows,
            description=f"Rows that were refused, each with its reason in {prepared.rejected}.",
        )
    return prepared


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items())) or "none"
