"""How often the intervals of a report hold the truth, by simulation: few groups and many, unequal ones, rare labels.

    python -m bench.intervals [--groups 17 50 200] [--sets 2000] [--seed 1]

Half, a fifth and a twentieth of the rows have the three labels. Rows come in groups of one, of 1 to 3, or of 1 to 30 of
which most are small (Pareto), whose rows are alike (correlation 0.5). Scores follow the truth (AUROC 0.86 to 0.92), and
thresholds are tuned once, on other rows. All figures come from ``scoring.figures.measure``; the truth from 500,000 rows.
With 2,000 sets a coverage of 95 % is known to half a point. ``true in`` is in how many groups a label is true, as effective
ones, in the median set; sets in which a figure does not exist do not count for it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench.tables import table
from tasks.scoring import metrics
from tasks.scoring.figures import OWN_RULE, measure
from tasks.scoring.intervals import Groups
from tasks.scoring.metrics import ranking
from tasks.scoring.predictions import Predictions
from tasks.scoring.thresholds import Thresholds, decide, tune
from tests.scoring.drawn import draw

SHARES = (0.5, 0.2, 0.05)
ROWS = 500_000  # each alone: what rows of a group have in common changes no figure, only how well it is known
OF_LABELS = ("f1", "precision", "recall", "auroc", "average_precision")
OF_ALL = (
    *("f1_micro", "f1_macro", "subset_accuracy", "hamming_loss", "auroc", "average_precision"),
    *("brier", "log_loss", "calibration_error"),
)
Sizes = Callable[[np.random.Generator, int], NDArray[np.int64]]
SIZES: Mapping[str, tuple[float, Sizes]] = {
    "1": (0.0, lambda _, groups: np.ones(groups, np.int64)),
    "1 to 3": (0.5, lambda random, groups: random.integers(1, 4, groups)),
    "1 to 30": (0.5, lambda random, groups: np.minimum(1 + random.pareto(1.2, groups).astype(np.int64), 30)),
}

Key = tuple[str, str]


def main() -> None:
    """Print the share of intervals that hold the truth: per label, and of all labels together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, nargs="+", default=[17, 50, 200])
    parser.add_argument("--sets", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name, (alike, sizes) in SIZES.items():
        for groups in options.groups:
            random = np.random.default_rng([options.seed, groups, len(name)])
            population = draw(random, ROWS, alike=0, shares=SHARES, most=1)
            held, fewest = simulate(partial(_drawn, random, alike, sizes), population, groups, options.sets)
            rows = [
                [f"{share:.0%}", fewest[at], *(held[f"label {at}", each] for each in OF_LABELS)]
                for at, share in enumerate(SHARES)
            ]
            title = f"{groups} groups of {name}"
            table(title, ["of rows", "true in", *OF_LABELS], rows)
            table(f"{title}, all labels", OF_ALL, [[held["", each] for each in OF_ALL]])


def _drawn(random: np.random.Generator, alike: float, sizes: Sizes, groups: int) -> Predictions:
    return draw(random, groups, alike=alike, shares=SHARES, sizes=sizes(random, groups))


def simulate(
    drawn: Callable[[int], Predictions], population: Predictions, groups: int, sets: int
) -> tuple[dict[Key, float], list[float]]:
    """Coverage of each figure in percent, and in how many effective groups each label is true."""
    other = drawn(20_000)
    thresholds = tune(other, other.space.labels, {})
    true = dict(truth(population, thresholds))
    held: dict[Key, list[bool]] = defaultdict(list)
    counts = []
    for _ in range(sets):
        sample = drawn(groups)
        found = measure(sample, thresholds)
        for key, figure in true.items():
            each = (found["labels"][key[0]] if key[0] else found["metrics"])[key[1]]
            if each["interval_95"] is not None:
                low, high = each["interval_95"]
                held[key].append(low <= figure <= high)
        sizes = Groups.of(sample.groups).sums(sample.true_labels.astype(float))
        counts.append(sizes.sum(axis=0) ** 2 / np.maximum((sizes**2).sum(axis=0), 1))
    return {key: 100 * float(np.mean(each)) for key, each in held.items()}, np.median(counts, axis=0).tolist()


def truth(population: Predictions, thresholds: Thresholds) -> Iterator[tuple[Key, float]]:
    """Each figure of all that could be drawn."""
    is_true = population.true_labels
    for name, rule in OWN_RULE.items():
        counts = metrics.total(metrics.tally(is_true, decide(population, rule, thresholds)))
        yield ("", name), float(getattr(metrics, name)(counts))
        if name == "f1_macro":
            for figure, of_labels in (("f1", metrics.f1), ("precision", metrics.precision), ("recall", metrics.recall)):
                for label, value in zip(population.space.labels, of_labels(counts), strict=True):
                    yield (label, figure), float(value)
    ranked = []
    for label, mine, scores in zip(population.space.labels, is_true.T, population.marginals.T, strict=True):
        ranked.append(ranking(mine, scores)[:2])
        yield (label, "auroc"), ranked[-1][0]
        yield (label, "average_precision"), ranked[-1][1]
    yield ("", "auroc"), float(np.mean([each[0] for each in ranked]))
    yield ("", "average_precision"), float(np.mean([each[1] for each in ranked]))
    bins = metrics.reliability(is_true, population.marginals)
    yield ("", "calibration_error"), float(metrics.calibration_error(bins))
    yield ("", "brier"), float(np.mean((population.marginals - is_true) ** 2))
    yield ("", "log_loss"), float(-np.log(population.scored.of_truth).mean())


if __name__ == "__main__":
    main()
