"""What a model has to beat: constant answers, and a text-only classifier that is trained in a minute.

The classifier is TF-IDF over words and pairs of words and over pieces of 2 to 5 characters within words, and one logistic
regression per label (C = 3); where classes exclude each other, their probabilities are made to sum to 1. A model with
images that does no better than this says something about the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.scoring.predictions import LabelSpace, Predictions, from_marginals

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

VERSION = "tfidf-logistic/1"
TEXT_ONLY = "TF-IDF + logistic regression, text only"


def constant_answers(space: LabelSpace, train: NDArray[np.intp], predictions: Predictions) -> dict[str, Predictions]:
    """Answers that look at nothing.

    Args:
        space: The allowed answers.
        train: ``[rows]``, the right sets of the training split.
        predictions: Rows to answer.

    Returns:
        By name: always nothing, always everything, the most frequent set, and each set as often as in training: with
        thresholds, that is the best that can be answered without looking. Those that are not allowed are left out.
    """
    shares = np.bincount(train, minlength=len(space.sets)) / len(train)
    one_hot = np.eye(len(space.sets))
    answers = {
        "always no label": space.numbers.get(frozenset()),
        "always all labels": None if space.is_single else space.numbers.get(frozenset(space.labels)),
        "the most frequent answer": int(shares.argmax()),
    }
    posteriors = {name: one_hot[number] for name, number in answers.items() if number is not None}
    posteriors["each answer as often as in training"] = shares
    return {name: predictions.instead(each) for name, each in posteriors.items()}


class TextBaseline:
    """A classifier that sees texts alone.

    Args:
        texts: Of the training split.
        truth: ``[texts]``, numbers of their right sets.
        space: The allowed answers.
    """

    def __init__(self, texts: Sequence[str], truth: NDArray[np.intp], space: LabelSpace) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_union

        self._space = space
        both = (
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        )
        for each in both:
            # A piece that one text has says nothing of others, but some pieces there must be.
            if len(texts) >= 1000 and _any_shared(map(each.build_analyzer(), texts)):
                each.set_params(min_df=2)
        self._features = make_union(*both)
        seen = self._features.fit_transform(texts)
        columns = space.membership[truth]
        self._models: list[Any] = []
        for label in columns.T:
            several = label.any() and not label.all()
            # liblinear draws the order of its rows, so it gets a seed.
            model = LogisticRegression(C=3, solver="liblinear", random_state=0)
            self._models.append(model.fit(seen, label) if several else float(label[0]))

    def posterior(self, texts: Sequence[str]) -> Floats:
        """``[texts, sets]``, probabilities of the allowed answers."""
        seen = self._features.transform(texts)
        marginals = [
            np.full(len(texts), model) if isinstance(model, float) else model.predict_proba(seen)[:, 1]
            for model in self._models
        ]
        return from_marginals(np.stack(marginals, axis=1), self._space)


def _any_shared(texts: Iterable[Iterable[str]]) -> bool:
    """Whether a piece stands in two texts."""
    met: set[str] = set()
    for pieces in texts:
        mine = set(pieces)
        if not met.isdisjoint(mine):
            return True
        met |= mine
    return False
