"""Which adapter is in use: ``adapters/current`` moves on a verdict, and every move is written down.

::

    adapters/mmhs-3f2a9c01d7b4/   adapters/mmhs-77b0e4c1a9f3/
             current              a link to one of them
             promotions.jsonl     {"at": "2026-11-20T16:31:07Z", "from": "mmhs-3f2a…", "to": "mmhs-77b0…",
                                   "why": "pass", "forced": false, "report": "…/reports/evaluate-mmhs-77b0…"}

The line is written before the link moves: a move without a line cannot be, a line without a move says so by what follows.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.storage.errors import PermanentError
from tasks.storage.files import point, write_bytes

CURRENT, LATEST = "current", "latest"
LOG = "promotions.jsonl"


class NoAdapter(PermanentError):
    """There is no adapter of that name."""


def find_adapter(adapters: Path, name: str) -> Path:
    """The folder that is meant: ``latest``, ``current``, a name below ``adapters``, or a path.

    Raises:
        NoAdapter: There is none; the message lists those that there are.
    """
    for folder in (adapters / name, Path(name)):
        if name and folder.is_dir():
            return folder.resolve()
    there = ", ".join(path.name for path in _folders(adapters)) or "none yet"
    if name in (CURRENT, LATEST):
        step = "Run finetune-lora." if name == LATEST else "Evaluate one with promote=true."
        raise NoAdapter(f"There is no {name!r} adapter in {adapters}. {step} Adapters: {there}.")
    raise NoAdapter(f"There is no adapter {name!r}. Give a folder, or a name in {adapters}: {there}.")


def current(adapters: Path) -> Path | None:
    """The adapter that is in use, if there is one.

    Raises:
        NoAdapter: There was one, and it is gone.
    """
    link = adapters / CURRENT
    if link.is_symlink() and not link.is_dir():
        raise NoAdapter(
            f"{link} leads to {link.readlink()}, which is not there. Put that adapter back, or remove the link if none is "
            "in use any more."
        )
    return link.resolve() if link.is_dir() else None


def decide(passed_against: Path | None, now: Path | None, asked: bool) -> tuple[bool, str, bool]:
    """Whether ``current`` moves.

    Args:
        passed_against: The adapter that the new one was found better than.
        now: The one that is in use.
        asked: Whether the user asks for it whatever the verdict.

    Returns:
        Whether it moves, why or why not, and whether that is forced.
    """
    if now is not None and passed_against == now:
        return True, "pass", False
    if asked:
        return True, "asked for, and none was in use" if now is None else "asked for, without a pass", now is not None
    if now is None:
        return False, "none is in use: set promote=true to begin", False
    return False, "only a pass against the one in use moves it", False


def promote(adapters: Path, adapter: Path, report: Path, why: str, *, forced: bool, details: dict[str, Any]) -> None:
    """Put an adapter into use; the caller holds the lock of ``adapters``.

    Args:
        adapters: The folder of adapters.
        adapter: One of them.
        report: What the decision rests on.
        why: In words.
        forced: Whether it moves without a pass.
        details: The verdict, and what else a reader of the log wants.

    Raises:
        PermanentError: The adapter lies somewhere else.
    """
    if adapter.parent != adapters.resolve():
        raise PermanentError(f"{adapter} is not in {adapters}. Move it there first: {CURRENT} is a link within it.")
    before = current(adapters)
    line = {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "from": before.name if before else None,
        "to": adapter.name,
        "why": why,
        "forced": forced,
        "report": str(report),
        **details,
    }
    log = adapters / LOG
    known = log.read_bytes() if log.exists() else b""
    write_bytes(log, known + json.dumps(line, ensure_ascii=False).encode() + b"\n")
    point(adapters / CURRENT, adapter)


def _folders(adapters: Path) -> list[Path]:
    return sorted(
        path for path in adapters.glob("*") if path.is_dir() and not path.is_symlink() and path.name[0] != "."
    )
