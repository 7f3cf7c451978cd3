"""Judges whose strength and habits are known, so that the figures about them can be held against the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.judging.statistics import Pair, verdict_of


@dataclass(frozen=True)
class Judge:
    """One that sees which text is better, or goes by the place, or by length.

    Args:
        better: Share of pairs in which A's text is better.
        sees: Share of pairs in which the judge sees that; in the others it answers each order for itself.
        first: How often it then names the text that stands first.
        ties: How often it then says tie.
        alike: Correlation of which text is better within a group.
        longer: By how much the log odds for A rise when A's text becomes twice as long; only where it sees.
    """

    better: float = 0.5
    sees: float = 1.0
    first: float = 0.5
    ties: float = 0.0
    alike: float = 0.0
    longer: float = 0.0

    @property
    def win_rate(self) -> float:
        """Of A, ties as a half: the habit of place cancels out over both orders."""
        return self.sees * self.better + (1 - self.sees) / 2

    @property
    def without_ties(self) -> float:
        """Of A among the pairs with a winner."""
        chance = (1 - self.sees) * (1 - self.ties) ** 2 * self.first * (1 - self.first)
        return (self.sees * self.better + chance) / (self.sees + 2 * chance)

    @property
    def one_order(self) -> float:
        """Win rate of A where only the order with A first is asked."""
        return self.sees * self.better + (1 - self.sees) * (self.ties / 2 + (1 - self.ties) * self.first)

    @property
    def flips(self) -> float:
        """Share of pairs whose orders contradict each other."""
        alike = self.ties**2 + 2 * (1 - self.ties) ** 2 * self.first * (1 - self.first)
        return (1 - self.sees) * (1 - alike)

    @property
    def first_slot(self) -> float:
        """Of the answers that name a winner, where it stood first."""
        guessed = (1 - self.sees) * (1 - self.ties)
        return (self.sees / 2 + guessed * self.first) / (self.sees + guessed)

    def pairs(self, seed: int, groups: int, most: int = 1) -> list[Pair]:
        """Judged pairs, 1 to ``most`` per group; A's text is twice as long as B's on average."""
        random = np.random.default_rng(seed)
        of = np.repeat(np.arange(groups), random.integers(1, most + 1, groups))
        chance = np.full(groups, self.better)
        if self.alike:
            more = (1 - self.alike) / self.alike
            chance = random.beta(self.better * more, (1 - self.better) * more, groups)
        n = len(of)
        chars = (np.exp(random.normal(0, 0.6, (n, 2))) * (200, 100)).astype(int)
        odds = np.log(chance / (1 - chance))[of] + self.longer * np.log2(chars[:, 0] / chars[:, 1])
        better = random.random(n) < 1 / (1 + np.exp(-odds))
        seen = np.stack([np.where(better, "A", "B"), np.where(better, "B", "A")], axis=1)
        guessed = np.where(random.random((n, 2)) < self.first, "A", "B")
        guessed = np.where(random.random((n, 2)) < self.ties, "tie", guessed)
        says = np.where(random.random((n, 1)) < self.sees, seen, guessed).tolist()
        return [
            Pair(f"routine-{group}", verdict_of(tuple(said)), tuple(said), tuple(lengths))
            for group, said, lengths in zip(of.tolist(), says, chars.tolist(), strict=True)
        ]


def rounds(judge: Judge, count: int, groups: int, most: int = 1) -> Iterator[list[Pair]]:
    """Judged sets of pairs, one per seed."""
    return (judge.pairs(seed, groups, most) for seed in range(count))
