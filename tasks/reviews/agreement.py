"""What reviewers' answers say: about the machine, about its checks, and about each other.

Some of the figures, as they stand in ``report.json``::

    "audit": {"rows": {"drawn": 100, "answered": 96, "count": 31, "n": 96, "share": 0.323, "interval_95": […]}, …}
    "codes": {"numbers": {"with": {"count": 9, "n": 12, …}, "without": {…}, "difference": 0.52, "lift": 3.3, …}, …}
    "agreement": {"verdict": {"value": 0.71, "low": 0.58, "high": 0.81, "units": 140, …}, …}
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tasks.reviews.history import History
from tasks.reviews.merge import Key, Merged, Settled, is_edit
from tasks.reviews.records import KINDS, VERDICTS, Response
from tasks.stats.alpha import alpha, masi, nominal, ordinal
from tasks.stats.intervals import clustered, difference, wilson

# Edges of the histogram of corrections: characters changed per 100 of the corrected text.
_CHANGED = list(range(0, 101, 5))
# Words times changed words up to which TER looks for shifts; beyond, two texts of 150 words that have nothing in common
# take it 3 s, of 1,000 words a minute.
_SHIFTS = 2000


def figures(history: History, merged: Merged, drawn: Collection[Key] | None) -> dict[str, Any]:
    """Everything that the report shows, as JSON takes it.

    Args:
        history: All answers.
        merged: What they come to.
        drawn: Row and turn of all that was drawn at random; None where that is not known, then those that anybody has
            answered stand for it.
    """
    turns = [turn for turn in merged.settled if turn.text_from != "machine"]
    return {
        "versions": history.versions,
        "answers": dict(Counter(response.status for response in history.latest)),
        "answered": len(turns),
        "text_from": dict(Counter(turn.text_from for turn in merged.settled)),
        "decided_by": dict(Counter(turn.why for turn in merged.settled)),
        "open": [
            _named(each.turn) | {"why": each.turn.why, "by": each.turn.by, "texts": len(each.candidates)}
            for each in merged.open
        ],
        "broken": [_named(each) | {"user": each.user, "reason": reason} for each, reason in merged.broken],
        "stale": [_named(each) | {"user": each.user} for each in merged.stale],
        "audit": _audit(history, turns, drawn),
        "reviewers": _reviewers(history.latest),
        "verdicts": {name: sum(each.verdict == name for each in merged.answers) for name in VERDICTS},
        "kinds": {name: sum(name in each.kinds for each in merged.answers) for name in KINDS},
        "corrections": _corrections([turn for turn in turns if turn.text_from == "edited"]),
        "agreement": _agreement(merged.answers),
        "translators": _translators(turns),
        "codes": _codes(turns),
        "no_code": _clustered([turn for turn in turns if not turn.codes], _is_edited),
    }


def _named(each: Settled | Response) -> dict[str, Any]:
    return {"row": each.row, "turn": each.turn}


def _audit(history: History, turns: Sequence[Settled], drawn: Collection[Key] | None) -> dict[str, Any]:
    seen = {(each.row, each.turn) for each in history.latest if each.part == "audit"}
    wanted: dict[int, set[int]] = defaultdict(set)
    for row, number in seen if drawn is None else drawn:
        wanted[row].add(number)
    answered = [turn for turn in turns if turn.turn in wanted.get(turn.row, ())]
    of_row: dict[int, list[Settled]] = defaultdict(list)
    for turn in answered:
        of_row[turn.row].append(turn)
    # A row that is answered in part would only count where an error was found, and make the rate too high.
    whole = [row for row, some in of_row.items() if len(some) == len(wanted[row])]
    wrong = sum(any(turn.is_error for turn in of_row[row]) for row in whole)
    return {
        "drawn_is_known": drawn is not None,
        "rows": {"drawn": len(wanted), "answered": len(whole), **_share(wrong, len(whole))},
        "rows_begun": len(of_row) - len(whole),
        "turns": {
            "drawn": sum(map(len, wanted.values())),
            "answered": len(answered),
            **_clustered(answered, _is_error),
        },
    }


def _reviewers(latest: Sequence[Response]) -> dict[str, Any]:
    by_user: dict[str, list[Response]] = defaultdict(list)
    for response in latest:
        by_user[response.user].append(response)
    found = {}
    for user, some in sorted(by_user.items(), key=lambda item: (-len(item[1]), item[0])):
        submitted = [each for each in some if each.status == "submitted"]
        edited = sum(map(is_edit, submitted))
        newest = max(some, key=lambda each: each.updated_at)
        found[user] = {
            "role": newest.role,
            "submitted": len(submitted),
            "accepted": len(submitted) - edited,
            "edited": edited,
            "draft": sum(each.status == "draft" for each in some),
            "discarded": sum(each.status == "discarded" for each in some),
            "last": newest.updated_at.isoformat(timespec="seconds"),
        }
    return found


def _corrections(edited: Sequence[Settled]) -> dict[str, Any]:
    """How far people's texts are from the machine's: theirs is the reference."""
    if not edited:
        return {"n": 0}
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    chrf, ter = CHRF(), TER()
    chrf_score = chrf.corpus_score([turn.machine for turn in edited], [[turn.text for turn in edited]]).score
    ter.corpus_score(["a"], [["a"]])  # a signature is there only after a score
    edits = words = without_shifts = 0
    for turn in edited:
        machine, text = turn.machine.lower().split(), turn.text.lower().split()
        changed = levenshtein(machine, text)
        words += len(text)
        if max(len(machine), len(text)) * changed > _SHIFTS:
            without_shifts += 1
            edits += changed
        else:
            edits += int(ter.sentence_score(turn.machine, [turn.text]).num_edits)
    chars = [levenshtein(turn.machine, turn.text) for turn in edited]
    shares = [100 * number / max(len(turn.text), 1) for number, turn in zip(chars, edited, strict=True)]
    counts, _ = np.histogram(np.minimum(shares, _CHANGED[-1]), _CHANGED)
    return {
        "n": len(edited),
        "chrf": chrf_score,
        "chrf_signature": chrf.get_signature().format(),
        "ter": 100 * edits / max(words, 1),
        "ter_signature": ter.get_signature().format(),
        "ter_without_shifts": without_shifts,
        "chars_changed": {"mean": float(np.mean(chars)), "median": float(np.median(chars))},
        "chars_changed_percent": {"edges": _CHANGED, "turns": counts.tolist()},
    }


def _agreement(answers: Sequence[Response]) -> dict[str, Any]:
    by_turn: dict[Key, list[Response]] = defaultdict(list)
    for each in answers:
        by_turn[each.row, each.turn].append(each)
    shared = {key: some for key, some in by_turn.items() if len(some) > 1}
    rows = [row for row, _ in shared]
    alike = [len({is_edit(each) for each in some}) == 1 for some in shared.values()]
    verdicts = [[each.verdict for each in some if each.verdict is not None] for some in shared.values()]
    kinds = [[frozenset(each.kinds) for each in some] for some in shared.values()]
    return {
        "turns_answered_twice": len(shared),
        "answers": sum(map(len, shared.values())),
        "both_edit_or_both_accept": _of_clusters(alike, rows),
        "edit": asdict(alpha([[is_edit(each) for each in some] for some in shared.values()], nominal, rows)),
        "verdict": asdict(alpha(verdicts, ordinal(tuple(VERDICTS)), rows)),
        "kinds": asdict(alpha(kinds, masi, rows)),
    }


def _translators(turns: Sequence[Settled]) -> dict[str, Any]:
    by_name: dict[str, list[Settled]] = defaultdict(list)
    for turn in turns:
        by_name[turn.translator].append(turn)
    return {
        name: {"edited": _clustered(some, _is_edited), "errors": _clustered(some, _is_error)}
        for name, some in sorted(by_name.items(), key=lambda item: (-len(item[1]), item[0]))
    }


def _codes(turns: Sequence[Settled]) -> dict[str, Any]:
    """Per check code: how much more often a turn that has it is edited than one that has not."""
    names = Counter(code for turn in turns for code in turn.codes)
    found = {}
    for name, _ in sorted(names.items(), key=lambda item: (-item[1], item[0])):
        flagged = _clustered([turn for turn in turns if name in turn.codes], _is_edited)
        others = _clustered([turn for turn in turns if name not in turn.codes], _is_edited)
        both = flagged["n"] > 0 and others["n"] > 0
        interval = difference(flagged["share"], flagged["interval_95"], others["share"], others["interval_95"])
        found[name] = {
            "with": flagged,
            "without": others,
            "difference": flagged["share"] - others["share"] if both else None,
            "difference_interval_95": list(interval) if both else None,
            "lift": flagged["share"] / others["share"] if both and others["share"] else None,
        }
    return found


def levenshtein(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """How many characters, or words, must be put in, taken out or replaced to make one from the other."""
    one, other = list(one), list(other)
    while one and other and one[-1] == other[-1]:
        del one[-1], other[-1]
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    ids = {value: at for at, value in enumerate(dict.fromkeys([*one, *other]))}
    row = np.array([ids[value] for value in other[same:]], dtype=np.int64)
    steps = np.arange(len(row) + 1)
    costs = steps.copy()
    for done, value in enumerate(one[same:], 1):
        best = np.concatenate([[done], np.minimum(costs[1:] + 1, costs[:-1] + (row != ids[value]))])
        # Putting in is the one move along the row: the lowest cost to the left, plus the way from there.
        costs = np.minimum.accumulate(best - steps) + steps
    return int(costs[-1])


def _is_error(turn: Settled) -> bool:
    return turn.is_error


def _is_edited(turn: Settled) -> bool:
    return turn.text_from == "edited"


def _clustered(turns: Sequence[Settled], hit: Callable[[Settled], bool]) -> dict[str, Any]:
    return _of_clusters([hit(turn) for turn in turns], [turn.row for turn in turns])


def _of_clusters(hits: Sequence[bool], rows: Sequence[int]) -> dict[str, Any]:
    """A share of turns, with the interval that holds where the turns of a row have something in common."""
    sizes, found = Counter(rows), Counter(row for row, hit in zip(rows, hits, strict=True) if hit)
    interval = clustered([found[row] for row in sizes], list(sizes.values()))
    return _share(sum(hits), len(hits), interval)


def _share(count: int, n: int, interval: tuple[float, float] | None = None) -> dict[str, Any]:
    ends: Mapping[str, Any] = {"interval_95": list(interval or wilson(count, n))}
    return {"count": count, "n": n, "share": count / n if n else 0.0, **ends}
