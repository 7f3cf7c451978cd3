"""What judged pairs say: how often A wins, how sure that is, and what the judge's habits have to do with it.

::

    compare([Pair("routine-24", "a", ("A", "B"), (212, 187)), …])
    Comparison(win_rate=Share(0.573, 0.488, 0.654, n=110), p=0.11, outcome="not enough evidence", needed=357, …)

A pair counts 1 where A won, 0 where B won, and a half where neither did: a tie, both too bad, or a judge that changed its
mind with the order. Pairs that could not be judged are left out and counted. Pairs of one group (keywords of one routine)
are no independent draws, so every interval and p value is by group. Everything turns round exactly when A and B do.

Intervals of shares are Wilson's, with as many cases as would be as informative had they been drawn one by one
(``stats.intervals.clustered``); the paired bootstrap over groups stands beside it. Coverage is simulated in
tests/judging/test_statistics.py and, longer, in bench/judging.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil, erfc, floor, isnan, log, log10, sqrt
from statistics import NormalDist
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from tasks.scoring.intervals import Groups, interval
from tasks.scoring.verdict import mcnemar
from tasks.stats.alpha import Alpha, alpha, nominal
from tasks.stats.intervals import clustered, difference, student, wilson

Floats = NDArray[np.float64]

Verdict = Literal["a", "b", "tie", "neither", "inconsistent", "unjudged"]
Said = Literal["A", "B", "tie", "neither"]  # of one order; A is the text that stood first
Outcome = Literal["better", "worse", "not enough evidence"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

POWER = 0.8
LEVEL = 0.05
_NORMAL = NormalDist()
_AT_LEVEL, _AT_POWER = _NORMAL.inv_cdf(1 - LEVEL / 2), _NORMAL.inv_cdf(POWER)
_REACH = _AT_LEVEL + _AT_POWER
_WORTH: Mapping[Verdict, float] = {"a": 1.0, "b": 0.0, "tie": 0.5, "neither": 0.5, "inconsistent": 0.5}


class Pair(NamedTuple):
    """One pair after judging.

    Args:
        group: What it was drawn with, such as the routine of its keyword.
        verdict: Of both orders together.
        said: What the judge said with A's text first, and with B's text first: A is the first one's name in both. None
            where it was not asked or gave nothing that could be read.
        chars: Characters of A's and of B's text.
    """

    group: str
    verdict: Verdict
    said: tuple[Said | None, Said | None]
    chars: tuple[int, int]


class Share(NamedTuple):
    """A share with its 95 % interval and of how many; ``value`` is None where there were none."""

    value: float | None
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Length:
    """Whether the judge likes long texts.

    Args:
        longer_wins: Of the pairs with a winner and two lengths, where the longer text won.
        at_equal_length: Win rate of A were both texts equally long, ties as a half.
        doubled: Win rate of a text that is twice as long as one that is as good.
        reason: Why the last two are None.
    """

    longer_wins: Share
    at_equal_length: Share | None
    doubled: Share | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A against B.

    Args:
        counts: Pairs by verdict.
        groups: Groups of the judged pairs.
        win_rate: Of A, ties as a half; Wilson's interval by group.
        bootstrap: The same with the interval of the paired bootstrap by group.
        without_ties: Of A among the pairs that have a winner.
        p: Two-sided, of as many wins for A as for B among the groups (or pairs) that have a winner.
        test: By which test.
        outcome: Whether A is better, only where the interval and p both say so.
        needed: Pairs that would show the difference that was found in 80 of 100 such comparisons; None where there is none.
        detectable: The distance from one half that so many pairs show in 80 of 100 such comparisons.
        flips: Of the pairs asked in both orders, where the two answers contradict each other.
        slot_flips: Of the same, where the same place won twice: whatever stood first, or whatever stood second.
        first_slot: Of all answers that name a winner, where it stood first; one half for a judge without a habit.
        one_order: Win rate had only the order with A first been asked, as is often done; ties as a half.
        length: The effect of length.
    """

    counts: Mapping[Verdict, int]
    groups: int
    win_rate: Share
    bootstrap: Share
    without_ties: Share
    p: float
    test: str
    outcome: Outcome
    needed: int | None
    detectable: float | None
    flips: Share
    slot_flips: Share
    first_slot: Share
    one_order: Share
    length: Length

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {name: _plain(value) for name, value in asdict(self).items()} | {"power": POWER}


def compare(pairs: Sequence[Pair]) -> Comparison:
    """What the pairs say.

    Raises:
        ValueError: There is no pair.
    """
    if not pairs:
        raise ValueError("No pairs, so there is nothing to compare.")
    found = Counter(pair.verdict for pair in pairs)
    judged = [pair for pair in pairs if pair.verdict != "unjudged"]
    groups = [pair.group for pair in judged]
    worth = [_WORTH[pair.verdict] for pair in judged]
    win_rate = share(worth, groups)
    decided = [pair for pair in judged if pair.verdict in ("a", "b")]
    p, test = _sign_test(judged)
    error = _error(worth, groups)
    away = None if win_rate.value is None else win_rate.value - 0.5
    interval_needs = _needed(len(judged), error, away) if error and away else None
    needed = max(interval_needs, _sign_test_needs(judged, away)) if interval_needs and away else None
    both = [pair for pair in pairs if None not in pair.said]
    names = [(pair.group, said) for pair in pairs for said in pair.said if said in ("A", "B")]
    first = [pair for pair in pairs if pair.said[0] is not None]
    return Comparison(
        {verdict: found[verdict] for verdict in VERDICTS},
        len(set(groups)),
        win_rate,
        _bootstrapped(worth, groups),
        share([pair.verdict == "a" for pair in decided], [pair.group for pair in decided]),
        p,
        test,
        _outcome(win_rate, p),
        needed,
        _REACH * error * sqrt(needed / interval_needs if needed and interval_needs else 1) if error else None,
        share([_turned(pair.said[1]) != pair.said[0] for pair in both], [pair.group for pair in both]),
        share([pair.said in (("A", "A"), ("B", "B")) for pair in both], [pair.group for pair in both]),
        share([said == "A" for _, said in names], [group for group, _ in names]),
        share([{"A": 1.0, "B": 0.0}.get(pair.said[0] or "", 0.5) for pair in first], [pair.group for pair in first]),
        length_effect(judged),
    )


def verdict_of(said: tuple[Said | None, Said | None]) -> Verdict:
    """The verdict of a pair from both orders, A's text first and B's text first."""
    if None in said:
        return "unjudged"
    forth, back = said[0], _turned(said[1])
    if forth != back:
        return "inconsistent"
    if forth == "A":
        return "a"
    return "b" if forth == "B" else "tie" if forth == "tie" else "neither"


def share(hits: Sequence[float], groups: Sequence[str]) -> Share:
    """A share of cases that were drawn in groups, with Wilson's interval.

    Args:
        hits: 0, 1 or a half per case.
        groups: One per case.
    """
    if not hits:
        return Share(None, 0.0, 1.0, 0)
    totals, sizes = _totals(hits, groups)
    value = float(np.sum(totals) / len(hits))
    parts = 1 if set(hits) <= {0.0, 1.0} else 2  # a half is one case of two that are alike
    return Share(value, *clustered((totals * parts).tolist(), (sizes * parts).tolist()), len(hits))


def length_effect(pairs: Sequence[Pair]) -> Length:
    """How the verdicts hang together with the lengths of the texts.

    The win rate at equal length is the intercept of a logistic regression of the win (ties a half) on the logarithm of
    the ratio of lengths (Papke and Wooldridge 1996; the idea for judges: Dubois et al. 2024, arXiv:2404.04475).

    Args:
        pairs: Judged ones; those with an empty text are not looked at.
    """
    pairs = [pair for pair in pairs if all(pair.chars)]
    unequal = [pair for pair in pairs if pair.verdict in ("a", "b") and pair.chars[0] != pair.chars[1]]
    wins = [(pair.verdict == "a") == (pair.chars[0] > pair.chars[1]) for pair in unequal]
    longer = share(wins, [pair.group for pair in unequal])
    worth = np.array([_WORTH[pair.verdict] for pair in pairs], float)
    ratio = np.array([log(a) - log(b) for a, b in (pair.chars for pair in pairs)], float)
    spread = float(np.sqrt(np.mean(ratio**2))) if len(pairs) else 0.0
    if len({pair.group for pair in pairs}) < 3:
        return Length(longer, None, None, "fewer than three groups")
    if np.ptp(worth) == 0:
        return Length(longer, None, None, "all verdicts are the same")
    if spread == 0:
        return Length(longer, None, None, "all pairs are equally long")
    if np.ptp(ratio) < 1e-9:
        return Length(longer, None, None, "the texts of all pairs differ in length by the same ratio")
    groups = Groups.of([pair.group for pair in pairs])
    columns = np.stack([np.ones(len(ratio)), ratio / spread], axis=1)  # not centred: 0 is equal length
    intercept, slope = _logistic(columns, worth, groups)

    def told(ends: Sequence[float], scale: float) -> Share:
        value, low, high = (_sigmoid(end * scale) for end in ends)
        return Share(value, low, high, len(pairs))

    return Length(longer, told(intercept, 1.0), told(slope, log(2) / spread))


@dataclass(frozen=True, slots=True)
class Arms:
    """Two models that each played against the same third one.

    Args:
        one: Win rate of the first, Wilson's interval.
        other: Of the second.
        gain: Second less first, with Newcombe's interval.
        p: Two-sided, of the z test for two proportions with the error of each.
        needed: Games per arm that would show this gain in 80 of 100 such comparisons; None where there is none.
        outcome: Of the second against the first.
    """

    one: Share
    other: Share
    gain: tuple[float, float, float]
    p: float
    needed: int | None
    outcome: Outcome

    def __str__(self) -> str:
        if self.outcome != "not enough evidence":
            return f"the second is {self.outcome} ({told_p(self.p)})"
        needed = f", about {about(self.needed):,} per arm needed" if self.needed else ""
        return f"{self.outcome} ({told_p(self.p)}{needed})"


def arms(won: int, n: int, others_won: int, others_n: int) -> Arms:
    """Two win rates against a common opponent.

    p is of ``z = (p2 - p1) / sqrt(p1 q1 / n1 + p2 q2 / n2)``; the number per arm is
    ``(z_0.975 + z_0.8)² (p1 q1 + p2 q2) / (p2 - p1)²`` (Fleiss, Levin and Paik 2003, 3.2 and 4.2).

    Args:
        won: Games that the first won.
        n: Its games.
        others_won: Games that the second won.
        others_n: Its games.

    Raises:
        ValueError: More won than played, or none played.
    """
    for wins, games in ((won, n), (others_won, others_n)):
        if not 0 <= wins <= games or not games:
            raise ValueError(f"{wins} of {games} cannot be: give games won and games played, such as 47/109.")
    one, other = (
        Share(won / n, *wilson(won, n), n),
        Share(others_won / others_n, *wilson(others_won, others_n), others_n),
    )
    first, second = won / n, others_won / others_n
    gain, spread = second - first, first * (1 - first) + second * (1 - second)
    low, high = difference(second, other[1:3], first, one[1:3])
    pooled = (won + others_won) / (n + others_n)
    variance = first * (1 - first) / n + second * (1 - second) / others_n
    variance = variance or pooled * (1 - pooled) * (1 / n + 1 / others_n)  # one lost all and the other won all
    p = erfc(abs(gain) / sqrt(2 * variance)) if gain else 1.0
    outcome: Outcome = "not enough evidence"
    if p < LEVEL and not low <= 0 <= high:
        outcome = "better" if gain > 0 else "worse"
    needed = ceil(_REACH**2 * spread / gain**2) if gain and spread else None
    return Arms(one, other, (gain, low, high), p, needed, outcome)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far the judge agrees with people.

    Args:
        agreement: Of the judge's verdicts that a person gave too, where both said the same; an inconsistent one is a tie.
        alpha: Krippendorff's alpha of the judge and the people, nominal, by group.
        people: Distinct people.
    """

    agreement: Share
    alpha: Alpha
    people: int


def calibrate(pairs: Sequence[tuple[Pair, Mapping[str, str]]]) -> Calibration:
    """Hold verdicts against what people chose.

    Args:
        pairs: Each with the choice (a, b, tie or neither) of every person who looked at it.
    """
    looked = [(pair, choices) for pair, choices in pairs if choices and pair.verdict != "unjudged"]
    verdicts = ["tie" if pair.verdict == "inconsistent" else str(pair.verdict) for pair, _ in looked]
    same = [
        (choice == verdict, pair.group)
        for (pair, choices), verdict in zip(looked, verdicts, strict=True)
        for choice in choices.values()
    ]
    return Calibration(
        share([hit for hit, _ in same], [group for _, group in same]),
        alpha(
            [[verdict, *choices.values()] for (_, choices), verdict in zip(looked, verdicts, strict=True)],
            nominal,
            [pair.group for pair, _ in looked],
        ),
        len({person for _, choices in looked for person in choices}),
    )


def about(n: int) -> int:
    """A number to two figures: 1,090 is about 1,100."""
    step = 10 ** max(0, floor(log10(n)) - 1) if n else 1
    return floor(n / step + 0.5) * step


def told_p(p: float) -> str:
    """``p = 0.37``; smaller ones with one figure."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2f}" if p >= 0.01 else f"p = {p:.1g}"


def _outcome(win_rate: Share, p: float) -> Outcome:
    if p >= LEVEL or win_rate.low <= 0.5 <= win_rate.high:
        return "not enough evidence"
    return "better" if win_rate.low > 0.5 else "worse"


def _sign_test(pairs: Sequence[Pair]) -> tuple[float, str]:
    """Whether A and B win equally often, exact, and what it is called.

    A group is one draw and counts for who wins more of its pairs, not at all where both win as many.
    """
    net = _ahead(pairs)
    over = " over groups" if len(net) < len(pairs) else ""
    return mcnemar(net > 0, net < 0, np.arange(len(net))).p, f"exact sign test{over}"


def _ahead(pairs: Sequence[Pair]) -> NDArray[np.int64]:
    """By how many pairs A is ahead of B, per group."""
    ahead: Counter[str] = Counter()
    for pair in pairs:
        ahead[pair.group] += (pair.verdict == "a") - (pair.verdict == "b")
    return np.array(list(ahead.values()), np.int64)


def _turned(said: Said | None) -> Said | None:
    return "B" if said == "A" else "A" if said == "B" else said


def _totals(hits: Sequence[float], groups: Sequence[str]) -> tuple[Floats, Floats]:
    """Hits and cases per group."""
    _, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    totals, sizes = np.bincount(codes, np.asarray(hits, float)), np.bincount(codes)
    return totals.astype(float), sizes.astype(float)


def _error(hits: Sequence[float], groups: Sequence[str]) -> float | None:
    """Standard error of a share of grouped cases, linearised; None with fewer than three groups."""
    if not hits:
        return None
    totals, sizes = _totals(hits, groups)
    if len(sizes) < 3:
        return None
    rest = totals - sizes * totals.sum() / sizes.sum()
    return sqrt(float((rest**2).sum()) * len(sizes) / (len(sizes) - 1)) / float(sizes.sum())


def _needed(n: int, error: float, away: float) -> int:
    """Pairs for a test of one share at this distance from one half (Fleiss, Levin and Paik 2003, 2.4), groups as here.

    The test's own error is the one at no difference, where a pair that is no tie varies the more.
    """
    of_one, away = n * error**2, abs(away)
    reach = _AT_LEVEL * sqrt(of_one + away**2) + _AT_POWER * sqrt(of_one)
    return ceil((reach / away) ** 2)


def _sign_test_needs(pairs: Sequence[Pair], away: float) -> int:
    """Pairs for the exact sign test over groups such as these (Fleiss, Levin and Paik 2003, 2.4, corrected for continuity).

    It looks at who wins more of a group alone, so of pairs in groups it needs more than the interval does.
    """
    net = _ahead(pairs)
    decided = int((net != 0).sum())
    gap = abs(float((net > 0).sum()) / decided - 0.5) if decided else 0.0
    if not gap or ((net > 0).sum() * 2 > decided) != (away > 0):
        return 0  # who wins more groups is not who wins more pairs: no number follows
    n = (_AT_LEVEL / 2 + _AT_POWER * sqrt(0.25 - gap**2)) ** 2 / gap**2
    n *= (1 + sqrt(1 + 2 / (n * gap))) ** 2 / 4
    return ceil(n * len(pairs) / decided)


def _bootstrapped(hits: Sequence[float], groups: Sequence[str]) -> Share:
    if not hits:
        return Share(None, 0.0, 1.0, 0)
    drawn = Groups.of(groups)
    sums = drawn.sums(np.stack([np.asarray(hits, float), np.ones(len(hits))], axis=1))

    def rate(weights: Floats) -> Floats:
        totals: Floats = weights @ sums
        return totals[:, :1] / totals[:, 1:]

    value = float(rate(np.ones((1, drawn.n)))[0, 0])
    found = interval(value, drawn.replicate(rate)[:, 0], drawn.n)
    return Share(found.value, found.low, found.high, len(hits))


def _logistic(columns: Floats, y: Floats, groups: Groups) -> list[tuple[float, float, float]]:
    """Each coefficient of a logistic regression of two, with the ends of its interval.

    Firth's likelihood (1993) keeps them finite where length decides every pair, and takes out the bias of few pairs; the
    interval is the profile's (Heinze and Schemper 2002), as much wider or narrower as ties and groups make the variance.
    """
    top = _climb(columns, y, np.zeros(2), [0, 1])
    rest = columns * (y - top.fitted)[:, None]
    sums, varies = groups.sums(rest), top.fitted * (1 - top.fitted)
    # A tie varies by a quarter less than what is won or lost, and pairs of a group as far as they go together.
    ties = 1 - float((y == 0.5).sum()) / 4 / float(varies.sum())
    cover = np.linalg.inv(top.information)
    together = np.diag(cover @ (sums.T @ sums - rest.T @ rest) @ cover) / np.diag(cover)
    sizes = np.bincount(groups.codes) * (1.0 if ties == 1 else 2.0)
    alike = float((sizes * (sizes - 1)).sum())
    reach = student(float(sizes.sum()) ** 2 / alike) if alike else _AT_LEVEL
    found = []
    for at in (0, 1):
        drop = reach * sqrt(max(ties + float(together[at]), ties / 2))
        step = drop * sqrt(float(cover[at, at]))
        low, high = (_profile(columns, y, top, at, sign * step, drop) for sign in (-1, 1))
        found.append((float(top.beta[at]), low, high))
    return found


class _Top(NamedTuple):
    """Where a likelihood is highest: coefficients, fitted values, information, and its logarithm."""

    beta: Floats
    fitted: Floats
    information: Floats
    height: float


def _climb(columns: Floats, y: Floats, beta: Floats, free: Sequence[int]) -> _Top:
    """The top of Firth's likelihood over the free coefficients, the others as they are."""
    for _ in range(100):
        odds = columns @ beta
        fitted = _sigmoids(odds)
        weights = np.maximum(fitted * (1 - fitted), 1e-12)  # far out nothing varies any more
        information = (columns * weights[:, None]).T @ columns
        leverage = weights * ((columns @ np.linalg.inv(information)) * columns).sum(axis=1)
        score = columns.T @ (y - fitted + leverage * (0.5 - fitted))
        step = np.zeros(2)
        step[free] = np.linalg.solve(information[np.ix_(free, free)], score[free])
        if np.abs(step).max() < 1e-7:
            break
        beta = beta + np.clip(step, -2, 2)
    height = float((y * odds - np.logaddexp(0, odds)).sum()) + float(np.linalg.slogdet(information)[1]) / 2
    return _Top(beta, fitted, information, height)


def _profile(columns: Floats, y: Floats, top: _Top, at: int, step: float, drop: float) -> float:
    """Where the likelihood, highest over the other coefficient, has fallen by ``drop² / 2``: by the secant method."""
    before, short, beta = 0.0, -drop, top.beta.copy()
    for _ in range(50):
        beta[at] = top.beta[at] + step
        there = _climb(columns, y, beta, [1 - at])
        beta, found = there.beta.copy(), sqrt(max(0.0, 2 * (top.height - there.height))) - drop
        if abs(found) < 1e-5 or found == short:
            break
        further = step - found * (step - before) / (found - short)
        before, short, step = step, found, float(np.clip(further / step, 0.1, 3)) * step
    return float(top.beta[at]) + step


def _sigmoids(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))


def _sigmoid(x: float) -> float:
    return float(_sigmoids(np.asarray(x)))


def _plain(value: Any) -> Any:
    """As JSON takes it; a share by name, null where it does not exist."""
    if isinstance(value, float) and isnan(value):
        return None
    if isinstance(value, Share):
        return {
            "share": value.value,
            "interval_95": None if value.value is None else [value.low, value.high],
            "n": value.n,
        }
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value
