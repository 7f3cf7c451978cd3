"""Methods against the gold labels and against each other: what `report.json` holds.

One method, of those over 40 memes::

    "CLIP": {"accuracy": {"value": 0.575, "interval_95": [0.42, 0.72], "right": 23, "n": 40},
             "macro": {"f1": {"value": 0.53, "interval_95": [0.37, 0.68], "n": 40}, …},
             "classes": {"toxic": {"precision": {…}, "recall": {…}, "f1": {…}}, …},
             "confusion": [[17, 3], [14, 6]]}

Baselines stand in the same table: a method that is no better than one of them has understood nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.scoring import metrics
from tasks.scoring.intervals import Groups, f1_interval, f1_macro_interval, plain, share_interval
from tasks.scoring.metrics import Tally
from tasks.scoring.verdict import mcnemar


class Method(NamedTuple):
    """One way to classify, and its answer to each meme.

    Args:
        name: As tables call it.
        what: How it decides.
        answers: ``[rows]``, numbers of classes.
        is_baseline: Whether it is there to be beaten.
    """

    name: str
    what: str
    answers: NDArray[np.integer]
    is_baseline: bool = False


def baselines(gold: NDArray[np.integer], has_text: NDArray[np.bool_], labels: Sequence[str]) -> list[Method]:
    """The most frequent class; and the best that can be known from whether there is any text.

    Both are fitted on the very rows that they are scored on, so they are as good as such rules can be.
    """
    most, with_text, without = (
        int(np.bincount(gold[some] if some.any() else gold).argmax())
        for some in (np.ones_like(has_text), has_text, ~has_text)
    )
    return [
        Method("majority", f"always {labels[most]}", np.full_like(gold, most), is_baseline=True),
        Method(
            "text or none",
            f"{labels[with_text]} where there is text, {labels[without]} where there is none",
            np.where(has_text, with_text, without),
            is_baseline=True,
        ),
    ]


def compare(
    gold: NDArray[np.integer], methods: Sequence[Method], labels: Sequence[str], groups: Sequence[str]
) -> dict[str, Any]:
    """Figures of each method, with 95 % intervals, and McNemar's test between each two.

    Args:
        gold: ``[rows]``, the number of each row's class, at least one row.
        methods: Their answers to the same rows.
        labels: The classes.
        groups: What was drawn: rows with one name count as one, such as copies of one image.
    """
    drawn = Groups.of(groups)
    return {
        "n": len(gold),
        "groups": drawn.n,
        "gold": dict(zip(labels, np.bincount(gold, minlength=len(labels)).tolist(), strict=True)),
        "methods": {
            method.name: {
                "what": method.what,
                "is_baseline": method.is_baseline,
                **_figures(gold, method.answers, labels, drawn),
            }
            for method in methods
        },
        "mcnemar": [
            _paired(gold, one, other, drawn)
            for one, other in combinations(methods, 2)
            if not (one.is_baseline and other.is_baseline)
        ],
    }


def _figures(
    truth: NDArray[np.integer], given: NDArray[np.integer], labels: Sequence[str], drawn: Groups
) -> dict[str, Any]:
    classes = np.arange(len(labels))
    is_true, is_given = truth[:, None] == classes, given[:, None] == classes
    rows = metrics.tally(is_true, is_given).columns()

    either = is_true | is_given
    counted = [each.T for each in Tally.read(drawn.sums(rows))[:3]]
    mean_f1 = f1_macro_interval(*(each.T for each in counted))
    apart = zip(*counted, either.sum(axis=0).tolist(), strict=True)
    f1 = [plain(f1_interval(*counts)) | {"n": n} for *counts, n in apart]
    hits = is_true & is_given
    precision = [_share(hits[:, at], is_given[:, at], drawn) for at in classes]
    recall = [_share(hits[:, at], is_true[:, at], drawn) for at in classes]
    counts = metrics.total(metrics.tally(is_true, is_given))
    return {
        "accuracy": _share(truth == given, np.ones(len(truth), bool), drawn),
        "macro": {
            "precision": _number(metrics.mean(metrics.precision(counts))),
            "recall": _number(metrics.mean(metrics.recall(counts))),
            "f1": plain(mean_f1) | {"n": len(truth)},
        },
        "classes": {
            label: {"precision": precision[at], "recall": recall[at], "f1": f1[at]} for at, label in enumerate(labels)
        },
        "confusion": metrics.confusion(truth, given, len(labels)).tolist(),
    }


def _share(hits: NDArray[np.bool_], among: NDArray[np.bool_], drawn: Groups) -> dict[str, Any]:
    """A share of rows, with the interval that fits rows drawn in groups."""
    right, size = (drawn.sums(each[:, None])[:, 0] for each in (hits & among, among))
    return plain(share_interval(right, size)) | {"right": int(right.sum()), "n": int(size.sum())}


def _paired(gold: NDArray[np.integer], one: Method, other: Method, drawn: Groups) -> dict[str, Any]:
    found = mcnemar(one.answers == gold, other.answers == gold, drawn.codes)
    return {
        "one": one.name,
        "other": other.name,
        "only_one": found.only_new,
        "only_other": found.only_old,
        "p": found.p,
    }


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
