"""What must hold in a row of a comparison, whoever wrote it.

::

    {"verdict": "a", "said_a_first": "A", "said_b_first": "A", …}
      ->  ("verdict", "is 'a', and the orders say inconsistent")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from tasks.judging import judge, write
from tasks.judging.statistics import Said, verdict_of
from tasks.storage.schemas import COMPARED, PAIRS_JUDGED, WRITTEN, TableSchema

TABLES = (WRITTEN, PAIRS_JUDGED, COMPARED)
_SAID = (*get_args(Said), None)


def faults(item: Mapping[str, Any], schema: TableSchema) -> Iterator[tuple[str, str]]:
    """What is wrong with one row, as code and message.

    Args:
        item: The row.
        schema: One of ``TABLES``.
    """
    known = write.REASONS if schema is WRITTEN else judge.REASONS
    if item["error"] is not None and item["error"] not in known:
        yield "error", f"{item['error']!r} is no reason that there is"
    if schema is WRITTEN:
        if (item["text"] is None) is (item["error"] is None):
            yield "text", "has neither a text nor a reason why there is none, or both"
        return
    said = (item["said_a_first"], item["said_b_first"])
    if not set(said) <= set(_SAID):
        yield "said", f"the judge said {said}"
        return
    settled = judge.settle(item)
    verdict = settled[0] if settled else verdict_of(said)
    if item["verdict"] != verdict:
        yield "verdict", f"is {item['verdict']!r}, and the {'texts' if settled else 'orders'} say {verdict}"
    if (item["verdict"] == "unjudged") is (item["error"] is None):
        yield "error", "is unjudged without a reason, or judged with one"
    if settled and said != (None, None):
        yield "said", "was asked about although there is nothing to judge"
