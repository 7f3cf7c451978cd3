from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.evaluation.promote import LOG, NoAdapter, current, decide, find_adapter, promote
from tasks.storage.errors import PermanentError


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    for name in ("old-01", "new-02"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("passed_against", "in_use", "asked", "moves", "forced"),
    [
        ("old", "old", False, True, False),
        ("old", "old", True, True, False),
        (None, "old", False, False, False),
        (None, "old", True, True, True),
        ("other", "old", False, False, False),  # better than one that is not in use
        ("other", "old", True, True, True),
        (None, None, False, False, False),
        (None, None, True, True, False),
        ("other", None, False, False, False),
    ],
)
def test_only_a_pass_against_the_adapter_in_use_or_a_wish_moves_it(
    passed_against: str | None, in_use: str | None, asked: bool, moves: bool, forced: bool
) -> None:
    against, now = (name and Path(name) for name in (passed_against, in_use))
    decided = decide(against or None, now or None, asked)
    assert (moves, forced) == (decided[0], decided[2])


def test_every_move_is_written_down(adapters: Path) -> None:
    promote(adapters, adapters / "old-01", Path("r1"), "asked for", forced=False, details={"verdict": None})
    promote(adapters, adapters / "new-02", Path("r2"), "asked for", forced=True, details={"verdict": "fail"})
    assert adapters / "new-02" == current(adapters)
    lines = [json.loads(line) for line in (adapters / LOG).read_text().splitlines()]
    assert [(None, "old-01", False, None), ("old-01", "new-02", True, "fail")] == [
        (line["from"], line["to"], line["forced"], line["verdict"]) for line in lines
    ]
    assert {LOG, "current", "old-01", "new-02"} == {path.name for path in adapters.iterdir()}


def test_the_link_holds_when_the_data_root_moves(adapters: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    promote(adapters, adapters / "old-01", Path("r"), "asked for", forced=False, details={})
    moved = tmp_path_factory.mktemp("moved") / "adapters"
    adapters.rename(moved)
    assert moved / "old-01" == current(moved)


def test_an_adapter_is_found_by_alias_name_or_path_and_a_missing_one_is_named(adapters: Path) -> None:
    (adapters / "latest").symlink_to("new-02")
    assert adapters / "new-02" == find_adapter(adapters, "latest")
    assert adapters / "old-01" == find_adapter(adapters, "old-01")
    assert adapters / "old-01" == find_adapter(adapters / "elsewhere", str(adapters / "old-01"))
    with pytest.raises(NoAdapter, match=r"no 'current' adapter in .* promote=true\. Adapters: new-02, old-01"):
        find_adapter(adapters, "current")
    with pytest.raises(NoAdapter, match="There is no adapter 'x'"):
        find_adapter(adapters, "x")


def test_an_adapter_in_use_that_is_gone_is_not_the_same_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.evaluate import has_adapter

    monkeypatch.setenv("TRASVASE_DATA", str(tmp_path))
    adapters = tmp_path / "adapters"
    (adapters / "new-02").mkdir(parents=True)
    link = adapters / "current"
    assert (None, False) == (current(adapters), has_adapter("current"))
    link.symlink_to("gone-01")
    assert has_adapter("current")  # the plan says what is wrong with it; a run that is skipped says nothing
    with pytest.raises(NoAdapter, match=r"current leads to gone-01, which is not there\. Put that adapter back"):
        current(adapters)
    with pytest.raises(NoAdapter, match="leads to gone-01"):
        promote(adapters, adapters / "new-02", Path("r"), "asked for", forced=False, details={})
    assert not (adapters / LOG).exists()


def test_an_adapter_that_lies_elsewhere_is_not_put_into_use(
    adapters: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(PermanentError, match="Move it there first"):
        promote(adapters, tmp_path_factory.mktemp("x"), Path("r"), "asked for", forced=False, details={})
    assert not (adapters / LOG).exists()
