"""The section of a report about rows that were rejected: how many for which reason, and the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.pages.page import Section, Table

REJECTED_SHOWN = 20


def rejected_section(
    rows: Sequence[Mapping[str, Any]], figures: Mapping[str, Any], what: str, columns: Mapping[str, str]
) -> Section:
    """Lay out rejected rows.

    Args:
        rows: At least the first ``REJECTED_SHOWN`` of them.
        figures: Of the report: ``rejected_by_reason`` has their count, under the name that ``what`` is, and what the code
            means; the second of ``files`` holds all of them.
        what: What a row is, such as ``images``.
        columns: Headings of the table of the first ones, and the rows' columns that stand under them.
    """
    reasons = figures["rejected_by_reason"]
    total = sum(each[what] for each in reasons.values())
    first = [[row[column] for column in columns.values()] for row in rows[:REJECTED_SHOWN]]
    return Section(
        "Rejected",
        f"All of them, with their reasons: {figures['files'][1]}",
        [
            Table(["reason", what, "which means"], [[code, i[what], i["reason"]] for code, i in reasons.items()]),
            Table(list(columns), first, f"The first {len(first)} of {total:,}"),
        ],
    )
