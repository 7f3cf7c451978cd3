from __future__ import annotations

import numpy as np
import pytest

from tasks.scoring.baselines import TextBaseline, constant_answers
from tests.scoring.drawn import every, one_of, predictions

pytest.importorskip("sklearn")


def test_where_there_is_one_label_it_may_be_said_of_everything() -> None:
    memes, alone = every(("harmful",)), one_of(("toxic",))
    for space, expected in ((memes, True), (alone, False)):
        rows = predictions(np.ones((2, 1), bool), np.full((2, 1), 0.5), ("a", "b"), space)
        assert expected == ("always all labels" in constant_answers(space, rows.truth, rows))


def test_many_texts_that_share_no_word_are_learnt_from_all_the_same() -> None:
    kinds = np.arange(1_000) % 2
    texts = [f"{'ab'[kind]}{number // 2:04d}" for number, kind in enumerate(kinds)]  # one word each, and no two alike
    model = TextBaseline(texts, kinds, one_of(("first", "second")))
    assert [0, 1] == model.posterior(["a9999", "b9999"]).argmax(axis=1).tolist()


def test_texts_that_share_nothing_at_all_are_no_failure() -> None:
    texts = [chr(0x4E00 + 2 * number) + chr(0x4E01 + 2 * number) for number in range(1_000)]
    model = TextBaseline(texts, np.arange(1_000) % 2, one_of(("first", "second")))
    assert pytest.approx(1.0) == model.posterior(["another"]).sum()
