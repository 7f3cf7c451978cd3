"""Tables of predictions as metrics take them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tasks.scoring.predictions import LabelSpace, NothingScored, read_predictions
from tasks.storage.errors import PermanentError
from tasks.storage.schemas import PREDICTIONS
from tasks.storage.tables import write_table
from tests.scoring.drawn import every

SPACE = every()


def _table(path: Path, rows: list[dict[str, Any]]) -> Path:
    return write_table(pa.Table.from_pylist(rows, PREDICTIONS.columns), path, PREDICTIONS, {})


def _row(number: int, space: LabelSpace = SPACE, **more: Any) -> dict[str, Any]:
    logs = np.random.default_rng(number).normal(size=len(space.sets))
    scored = {"log_probabilities": logs, "valid": 0.5, "answer": list(space.sets[int(logs.argmax())])}
    labels = list(space.sets[number % len(space.sets)])
    return {"row": number, "id": "", "group": f"g{number}", "labels": labels, **scored, **more}


def test_tables_in_any_order_are_read_row_by_row_with_what_was_refused(tmp_path: Path) -> None:
    lost: dict[str, Any] = {"log_probabilities": None, "valid": None, "answer": None}
    later = _table(tmp_path / "b", [_row(5), _row(3, labels=None), _row(4)])
    first = _table(tmp_path / "a", [_row(2), _row(1, **lost, error="missing", message="Row 1"), _row(0, labels=["x"])])
    found = read_predictions([later, first], SPACE)
    assert [2, 4, 5] == found.rows.tolist()
    assert ["g2", "g4", "g5"] == found.groups.to_pylist()
    assert {"missing": 1, "no-label": 1, "unknown-label": 1} == dict(found.rejected)
    for at, number in enumerate(found.rows):
        told = _row(int(number))
        shares = np.exp(told["log_probabilities"]) / np.exp(told["log_probabilities"]).sum()
        assert shares @ SPACE.membership == pytest.approx(found.marginals[at], abs=1e-15)
        assert (shares[found.truth[at]], shares.max()) == pytest.approx(
            (found.scored.of_truth[at], found.scored.highest[at])
        )
        assert shares.argmax() == found.answer[at]
        assert number % len(SPACE.sets) == found.truth[at]


def test_written_answers_have_no_probabilities(tmp_path: Path) -> None:
    written: dict[str, Any] = {"log_probabilities": None, "valid": None}
    table = _table(tmp_path / "a", [_row(0, **written), _row(1, **{**written, "answer": None})])
    found = read_predictions([table], SPACE)
    assert found.probabilities is None
    assert [True, False] == (found.answer >= 0).tolist()


def test_a_row_that_stands_twice_is_refused_and_so_are_none(tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="A row stands twice"):
        read_predictions([_table(tmp_path / "a", [_row(0)]), _table(tmp_path / "b", [_row(0)])], SPACE)
    with pytest.raises(NothingScored, match="No row of validation could be scored: no-label 1"):
        read_predictions([_table(tmp_path / "c", [_row(0, labels=None)])], SPACE, "validation")


def test_of_a_row_stay_a_few_numbers_however_many_answers_there_are(tmp_path: Path) -> None:
    space = every(tuple(f"label {at}" for at in range(8)))
    paths = [
        _table(tmp_path / str(start), [_row(start + at, space) for at in range(200)]) for start in range(0, 1600, 200)
    ]
    read_predictions(paths[:1], space)
    tracemalloc.start()
    found = read_predictions(paths, space)
    left, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < 150 * len(found)  # 256 probabilities would be 2 kB
    assert peak < 1_500 * len(found)  # of a batch for a moment, which is an eighth of the rows


def test_a_row_alone_in_its_table_has_the_probabilities_that_it_has_among_others(tmp_path: Path) -> None:
    space = every(tuple(f"label {at}" for at in range(8)))
    rows = [_row(at, space) for at in range(40)]
    alone = [_table(tmp_path / str(at), [row]) for at, row in enumerate(rows)]
    together = read_predictions([_table(tmp_path / "all", rows)], space)
    assert together.marginals.tolist() == read_predictions(alone, space).marginals.tolist()
