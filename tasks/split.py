"""Splitting a table, as tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from tasks.chunks.lock import only_run
from tasks.options import LOCAL
from tasks.plan import shown
from tasks.settings import Settings
from tasks.splits.assign import Official
from tasks.storage.errors import PermanentError
from tasks.storage.root import DataRoot

__all__ = ["Official", "split_table"]


@task(task_run_name="split {name}", **LOCAL)
def split_table(table: Path, name: str, group_by: str | Sequence[str], **wanted: Any) -> Path:
    """Make the version, or find it; show its card."""
    from tasks.splits.build import Wanted, build
    from tasks.splits.card import equal_bytes

    if not re.fullmatch(r"\w[\w.-]*", name):
        raise PermanentError(f"name={name!r} cannot be a folder's name. Use letters, digits, '-', '_' and '.'.")
    columns = (group_by,) if isinstance(group_by, str) else tuple(group_by)
    datasets = DataRoot(Settings().data).datasets
    with only_run(datasets / name):
        dataset = build(table, datasets, name, Wanted(columns, **wanted))
    certificate = dataset.certificate
    told = ", ".join(f"{split} {counts['rows']:,}" for split, counts in certificate["splits"].items())
    get_run_logger().info(
        "%s: %s rows, %d left out; leaks found: %d. %s",
        dataset.folder.name,
        told,
        certificate["left_out"],
        certificate["leaks"]["found"],
        dataset.folder,
    )
    for words in equal_bytes(certificate):
        get_run_logger().warning("%s group_by=sha256 keeps them together.", words)
    card = (dataset.folder / "README.md").read_text("utf-8").split("---\n", 2)[2]
    shown(create_markdown_artifact, key=re.sub(r"[^a-z0-9]+", "-", f"dataset-{name}".lower()), markdown=card)
    return dataset.folder
