from __future__ import annotations

import pytest

from tasks.cli import main


def test_the_predecessors_claim_is_not_enough_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["judge-counts", "47/109", "54/110"])
    told = capsys.readouterr().out.splitlines()
    assert "first   47 of 109: 43.1 % (95 % interval 34.2 to 52.5 %)" == told[0]
    assert "second  54 of 110: 49.1 % (95 % interval 39.9 to 58.3 %)" == told[1]
    assert "gain    +6.0 points (95 % interval -7.1 to +18.8)" == told[2]
    assert "not enough evidence (p = 0.37, about 1,100 per arm needed)" == told[-1]


def test_ten_times_the_games_would_have_shown_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["judge-counts", "470/1090", "540/1100"])
    assert "the second is better (p = 0.005)" == capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("counts", ["47", "47/0", "110/109", "half", "1/2/3"])
def test_what_is_no_count_ends_with_2(counts: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["judge-counts", counts, "54/110"])
    assert 2 == ended.value.code
    assert f"{counts!r} is not games won and played, such as 47/109" in capsys.readouterr().err
