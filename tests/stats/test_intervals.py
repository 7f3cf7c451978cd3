from __future__ import annotations

from collections.abc import Iterator
from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.stats.intervals import clustered, difference, student, wilson

Ints = NDArray[np.int64]


def rows_of_turns(
    seed: int, sets: int, rows: int, share: float, correlation: float
) -> Iterator[tuple[list[int], list[int]]]:
    """Data sets of rows with 2 to 10 turns; whether turns of a row are wrong is correlated (beta-binomial)."""
    random = np.random.default_rng(seed)
    sizes = 2 * random.integers(1, 6, size=(sets, rows))
    chance = np.full((sets, rows), share)
    if correlation:
        more = (1 - correlation) / correlation
        chance = random.beta(share * more, (1 - share) * more, size=(sets, rows))
    hits = random.binomial(sizes, chance)
    yield from zip(hits.tolist(), sizes.tolist(), strict=True)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        # Newcombe 1998 (doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 0, 0.0, 1.0),
        # Worked out by the formula.
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (47, 109, 0.3422, 0.5250),
    ],
)
def test_the_interval_of_a_share_is_wilsons(hits: int, n: int, low: float, high: float) -> None:
    assert pytest.approx((low, high), abs=1e-4) == wilson(hits, n)


def test_on_average_over_shares_wilson_covers_95_percent() -> None:
    random = np.random.default_rng(3)
    for n in (20, 50, 100, 200):
        ends = np.array([wilson(hits, n) for hits in range(n + 1)])
        shares = random.uniform(0.02, 0.98, 200_000)
        low, high = ends[random.binomial(n, shares)].T
        assert pytest.approx(0.95, abs=0.01) == float(np.mean((low <= shares) & (shares <= high)))


@pytest.mark.parametrize(
    ("rows", "share", "correlation"),
    [
        (30, 0.3, 0.1),
        (30, 0.5, 0.4),
        (100, 0.05, 0.0),
        (100, 0.05, 0.1),
        (100, 0.1, 0.2),
        (100, 0.3, 0.4),
        (200, 0.05, 0.2),
        (200, 0.95, 0.1),
    ],
)
def test_the_interval_of_turns_in_rows_covers_95_percent(rows: int, share: float, correlation: float) -> None:
    sets = 10_000
    covered = 0
    for hits, sizes in rows_of_turns(7, sets, rows, share, correlation):
        low, high = clustered(hits, sizes)
        covered += low <= share <= high
    assert pytest.approx(0.95, abs=0.01) == covered / sets


@pytest.mark.parametrize(("rows", "share", "correlation"), [(10, 0.6, 0.2), (20, 0.6, 0.2), (40, 0.6, 0.1)])
def test_few_rows_of_which_some_hold_most_of_the_turns_are_covered_as_well(
    rows: int, share: float, correlation: float
) -> None:
    random = np.random.default_rng(5)
    sets, covered = 4_000, 0
    more = (1 - correlation) / correlation
    for _ in range(sets):
        sizes = np.minimum(1 + random.pareto(1.2, rows).astype(int), 60)
        hits = random.binomial(sizes, random.beta(share * more, (1 - share) * more, rows))
        low, high = clustered(hits.tolist(), sizes.tolist())
        covered += low <= share <= high
    assert 0.933 < covered / sets < 0.975  # 96.8 % of 10 rows: a little wide


@pytest.mark.parametrize("n", [5, 8, 12, 17, 25])
def test_a_share_of_few_single_cases_is_held_in_94_percent_whatever_it_is(n: int) -> None:
    shares, hits = np.linspace(0.1, 0.9, 321), np.arange(n + 1)
    ways = np.array([comb(n, k) for k in hits], float)
    chance = ways * shares[:, None] ** hits * (1 - shares[:, None]) ** (n - hits)

    def least(ends: list[tuple[float, float]]) -> float:
        low, high = np.array(ends).T
        return float((chance * ((low <= shares[:, None]) & (shares[:, None] <= high))).sum(axis=1).min())

    assert least([clustered([1] * k + [0] * (n - k), [1] * n) for k in hits]) > 0.94
    assert least([wilson(int(k), n) for k in hits]) < 0.925


def test_clusters_without_a_case_were_drawn_all_the_same() -> None:
    low, high = clustered([1, 1, 1, 0, 0], [1] * 5)
    assert (low, high) != clustered([1, 1, 1, 0, 0, 0, 0], [1] * 5 + [0, 0])
    assert pytest.approx(wilson(3, 5), abs=0.002) == clustered([1, 1, 1, 0, 0] + [0] * 900, [1] * 5 + [0] * 900)


def test_rare_errors_that_come_in_clumps_are_covered_less_and_we_say_so() -> None:
    covered = [
        low <= 0.02 <= high for low, high in (clustered(*drawn) for drawn in rows_of_turns(7, 3000, 100, 0.02, 0.2))
    ]
    assert 0.91 < float(np.mean(covered)) < 0.94


def test_wilson_over_turns_would_say_too_much() -> None:
    covered = 0
    for hits, sizes in rows_of_turns(7, 3000, 100, 0.1, 0.4):
        low, high = wilson(sum(hits), sum(sizes))
        covered += low <= 0.1 <= high
    assert covered / 3000 < 0.80


def test_rows_that_are_wrong_as_a_whole_count_as_one_case_each() -> None:
    low, high = clustered([6, 0] * 50, [6] * 100)
    assert pytest.approx(wilson(50, 100), abs=0.005) == (low, high)


def test_without_any_error_each_row_counts_as_one_case() -> None:
    assert pytest.approx(wilson(0, 50), abs=0.005) == clustered([0] * 50, [6] * 50)
    assert pytest.approx(wilson(50, 50), abs=0.005) == clustered([6] * 50, [6] * 50)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_two_rows_tell_no_interval(rows: int) -> None:
    assert (0.0, 1.0) == clustered([1] * rows, [2] * rows)


def test_the_published_difference_of_two_shares() -> None:
    # Newcombe 1998 (doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I), table II, method 10.
    for a, m, b, n, low, high in [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (0, 10, 0, 10, -0.2775, 0.2775),
    ]:
        assert pytest.approx((low, high), abs=1e-4) == difference(a / m, wilson(a, m), b / n, wilson(b, n))


def test_the_difference_of_turns_with_and_without_a_code_is_covered() -> None:
    random = np.random.default_rng(11)
    sets, rows, covered = 2000, 100, 0
    for _ in range(sets):
        shift = random.uniform(-0.15, 0.15, rows)  # what the turns of a row have in common
        with_size, size = random.integers(1, 3, rows), random.integers(2, 8, rows)
        with_hits, hits = random.binomial(with_size, 0.4 + shift), random.binomial(size, 0.25 + shift)
        one, other = with_hits.sum() / with_size.sum(), hits.sum() / size.sum()
        low, high = difference(
            float(one),
            clustered(with_hits.tolist(), with_size.tolist()),
            float(other),
            clustered(hits.tolist(), size.tolist()),
        )
        covered += low <= 0.15 <= high
    assert 0.94 < covered / sets < 0.98  # rows in both groups make it a little wide


@pytest.mark.parametrize(("degrees", "quantile"), [(5, 2.571), (9, 2.262), (29, 2.045), (99, 1.984)])
def test_students_quantile(degrees: int, quantile: float) -> None:
    assert pytest.approx(quantile, abs=0.004) == student(degrees)
