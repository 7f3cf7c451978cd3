"""One of a kind for all threads of a process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tasks.engines.shared import Shared


class Model:
    """Something that is opened and closed."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        if self.size < 0:
            raise OSError(f"{self.name} will not close")


def test_threads_that_ask_at_once_get_the_same_one() -> None:
    models: Shared[str, int, Model] = Shared(Model)
    together = threading.Barrier(8)

    def ask(_: int) -> Model:
        together.wait()
        return models("a", 1)

    with ThreadPoolExecutor(8) as threads:
        assert 1 == len(set(map(id, threads.map(ask, range(8)))))


def test_other_arguments_are_another_one() -> None:
    models = Shared(Model)
    assert (models("a", 1), 2) == (models("a", 1), models("a", 2).size)
    assert models("a", 1) is not models("b", 1)


def test_after_the_end_it_is_opened_anew() -> None:
    models = Shared(Model, Model.close)
    first = models("a", 1)
    models.close()
    models.close()
    assert 1 == first.closed
    assert models("a", 1) is not first


def test_without_a_way_to_close_it_is_only_forgotten() -> None:
    models = Shared(Model)
    first = models("a", 1)
    models.close()
    assert 0 == first.closed
    assert models("a", 1) is not first


def test_what_could_not_be_opened_is_opened_the_next_time() -> None:
    asked: list[str] = []

    def load(name: str) -> Model:
        asked.append(name)
        if len(asked) == 1:
            raise OSError(name)
        return Model(name, 1)

    models = Shared(load)
    with pytest.raises(OSError, match="a"):
        models("a")
    assert "a" == models("a").name


def test_one_that_does_not_close_keeps_none_of_the_others() -> None:
    models = Shared(Model, Model.close)
    opened = [models("a", 1), models("b", -1), models("c", 1)]
    with pytest.raises(OSError, match="b will not close"):
        models.close()
    assert [1, 1, 1] == [each.closed for each in opened]
