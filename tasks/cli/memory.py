"""`trasvase memory`: what people settled, as a list; out to other translation tools and in from them, as TMX."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tasks.cli.terminal import table
from tasks.llava.corrections import HOW, Correction, add_corrections, best, memory_path, read_corrections
from tasks.llava.tmx import Entry, read_tmx, write_tmx
from tasks.llava.verify import verify_turn
from tasks.reviews.records import pseudonym
from tasks.settings import Settings
from tasks.storage.errors import PermanentError
from tasks.storage.root import DataRoot

_NAMED = 20  # entries that are named
_SHOWN = 60  # characters of a text

_EPILOG = """\
The next `translate-llava` uses these texts before any machine's answer. `pull-reviews` fills the memory.

examples:
  trasvase memory                              what is there, by origin
  trasvase memory --json | jq '.[].origins'
  trasvase memory export llava.tmx             TMX 1.4, for OmegaT, memoQ, Trados and others
  trasvase memory export llava-eu.tmx --target eu
  trasvase memory import agency.tmx            TMX 1.1 to 1.4; a file of the same name takes the place of the last

exit codes: 0 done; 1 entries that cannot be used are there and named, the others are used; 2 nothing could be done
"""


@dataclass(slots=True)
class Origin:
    """What comes from one place.

    Args:
        entries: Entries.
        how: Of them, by how they were settled.
        texts: Distinct texts.
        people: People who settled them.
        latest: The latest of them, UTC.
    """

    entries: int = 0
    how: dict[str, int] = field(default_factory=dict)
    texts: int = 0
    people: int = 0
    latest: str | None = None


@dataclass(slots=True)
class Held:
    """What the memory of two languages holds.

    Args:
        path: Its file.
        entries: Entries in it.
        texts: Texts with a translation that is used.
        conflicts: Of them, those on which people differ.
        unusable: Entries that break what must hold, with the reason.
        origins: By origin.
    """

    path: str
    entries: int
    texts: int
    conflicts: int
    unusable: Sequence[str]
    origins: dict[str, Origin]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `trasvase memory`."""
    parser.description = "The texts that people settled: list them, or exchange them as TMX 1.4."
    parser.epilog = _EPILOG
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run_command=run)
    actions = parser.add_subparsers(metavar="ACTION", title="actions; without one the memory is listed")
    for name, run_action, summary in (
        ("export", run_export, "write the translation that is used for each text"),
        ("import", run_import, "take over the translations of a TMX file"),
    ):
        action = actions.add_parser(
            name,
            help=summary,
            description=f"{summary.capitalize()}.",
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        action.add_argument("path", metavar="PATH.tmx", type=Path)
        action.add_argument("--source", default="en", help="language of the texts (en)")
        action.add_argument("--target", default="es", help="language of the translations (es)")
        action.set_defaults(run_command=run_action)


def run(options: argparse.Namespace) -> int:
    """List what is there; the exit code."""
    folder = DataRoot(Settings().data).memory
    memories = [_held(path) for path in sorted(folder.glob("*.parquet"))]
    if options.json:
        print(json.dumps([asdict(memory) for memory in memories], indent=2, ensure_ascii=False))
    elif memories:
        print("\n\n".join("\n".join(_listed(memory)) for memory in memories))
    else:
        print(f"Nothing under {folder} yet. `pull-reviews` fills it, and `trasvase memory import FILE.tmx` does.")
    return 1 if any(memory.unusable for memory in memories) else 0


def run_export(options: argparse.Namespace) -> int:
    """Write the memory of two languages as TMX; the exit code."""
    path = _there(options.source, options.target)
    known = best(path)
    if not known.choices:
        raise PermanentError(f"{path} holds no text that could be used, so there is nothing to write.")
    written = write_tmx(options.path, known.choices, options.source, options.target)
    print(f"{written.entries:,} texts: {options.path}")
    return _told("not written", [*written.left_out, *known.unusable])


def run_import(options: argparse.Namespace) -> int:
    """Take a TMX file over into the memory of two languages; the exit code."""
    origin = f"tmx:{options.path.name}"
    path = memory_path(DataRoot(Settings().data).memory, options.source, options.target)
    taken: list[Correction] = []
    refused: list[str] = []
    for entry in read_tmx(options.path, options.source, options.target):
        if codes := verify_turn(entry.source, entry.target):
            refused.append(f"line {entry.line}: {entry.source[:_SHOWN]!r}: {', '.join(codes)}")
        else:
            taken.append(Correction(entry.source, entry.target, "tmx", _people(entry), entry.at, origin))
    if not taken:
        raise PermanentError(
            f"None of the {len(refused):,} texts of {options.path} can be used; the first one: {refused[0]}. "
            "The memory is as it was."
        )
    change = add_corrections(path, taken, origin)
    print(f"{len(taken):,} texts of {options.path} taken over into {path}")
    print(f"  {change.added:,} entries new, {change.removed:,} gone, {change.entries:,} there now")
    return _told("not taken over", refused)


def _people(entry: Entry) -> tuple[str, ...]:
    """Names of people never stay: a pseudonym of ours is kept, any other name becomes one."""
    return tuple(sorted({name if name.startswith("reviewer-") else pseudonym(name) for name in entry.by}))


def _told(what: str, reasons: Sequence[str]) -> int:
    if not reasons:
        return 0
    print(f"{len(reasons):,} {what}:", file=sys.stderr)
    for reason in reasons[:_NAMED]:
        print(f"  {reason}", file=sys.stderr)
    if len(reasons) > _NAMED:
        print(f"  and {len(reasons) - _NAMED:,} more", file=sys.stderr)
    return 1


def _there(source: str, target: str) -> Path:
    """The memory of two languages.

    Raises:
        PermanentError: There is none; names those that there are.
    """
    folder = DataRoot(Settings().data).memory
    path = memory_path(folder, source, target)
    if not path.exists():
        known = ", ".join(each.stem for each in sorted(folder.glob("*.parquet"))) or "none yet"
        raise PermanentError(
            f"There is no memory {path}. Memories there: {known}. Name one with --source and --target."
        )
    return path


def _held(path: Path) -> Held:
    corrections, known = read_corrections(path), best(path)
    origins: dict[str, Origin] = {}
    for name in sorted({each.origin for each in corrections}):
        some = [each for each in corrections if each.origin == name]
        times = [each.at for each in some if each.at]
        origins[name] = Origin(
            entries=len(some),
            how=dict(Counter(each.how for each in some)),
            texts=len({each.source for each in some}),
            people=len({person for each in some for person in each.by}),
            latest=f"{max(times):%Y-%m-%d %H:%M} UTC" if times else None,
        )
    return Held(str(path), len(corrections), len(known.choices), known.conflicts, known.unusable, origins)


def _listed(memory: Held) -> Iterator[str]:
    yield memory.path
    yield f"  {memory.texts:,} texts, {memory.conflicts:,} on which people differ, {memory.entries:,} entries"
    columns = ("origin", "entries", *HOW, "texts", "people", "latest")
    rows = [
        [
            name,
            origin.entries,
            *(origin.how.get(how, 0) for how in HOW),
            origin.texts,
            origin.people,
            origin.latest,
        ]
        for name, origin in memory.origins.items()
    ]
    yield from (f"  {line}" for line in table(columns, rows))
    if memory.unusable:
        yield f"  {len(memory.unusable):,} entries break what must hold and are not used:"
        yield from (f"    {reason}" for reason in memory.unusable[:_NAMED])
