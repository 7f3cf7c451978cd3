"""Rows that a model has no room for: found by the plan, by the same count that scoring makes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.models.load import find_family
from tasks.models.prompts import prompt_for
from tasks.models.tree import AnswerTree
from tasks.splits.build import Wanted, build
from tasks.training.plan import rejected_rows
from tasks.training.room import NoRoom, Room
from tests.models import made
from tests.training.test_train import SHORT, run
from tests.training.toy import planned, rows

Toys = Callable[[str], Path]
FAMILIES = ["paligemma", "qwen2_5_vl", "smolvlm", "mistral"]


def _short_sighted(base: Path, folder: Path, positions: int) -> Path:
    """The model with so many positions."""
    config = json.loads((shutil.copytree(base, folder) / "config.json").read_bytes())
    config.get("text_config", config).update(max_position_embeddings=positions)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_fits_to_the_last_token_and_not_beyond(name: str, toys: Toys, tmp_path: Path) -> None:
    image = None if name == "mistral" else made.image(90, 200)
    family, _ = find_family(str(toys(name)), prompt_for(made.MANY), None, None)
    text = "a red square, " * 50
    needed = family.inputs([text], [image])["input_ids"].shape[1] + AnswerTree(made.MANY, family).longest
    for positions, fits in ((needed, True), (needed - 1, False)):
        base = _short_sighted(toys(name), tmp_path / str(positions), positions)
        room = Room(str(base), prompt_for(made.MANY), made.MANY, None, None)

        def check(said: str, room: Room = room) -> None:
            room.check(said, "", image.size if image else None, lambda: image or made.image())

        check("a red square")
        if fits:
            check(text)
        else:
            with pytest.raises(NoRoom, match=f"^has {needed:,} tokens with its answer, and at most {positions:,} are"):
                check(text)


def test_a_row_that_is_too_long_is_refused_by_name_and_the_training_comes_to_its_end(
    toys: Toys, tmp_path: Path
) -> None:
    drawn = rows(20, tmp_path / "images")
    drawn[3]["text"] = drawn[17]["text"] = "square " * 5000
    for number, row in enumerate(drawn):
        row["split"] = "train" if number < 12 else "validation"
    pq.write_table(pa.Table.from_pylist(drawn), tmp_path / "squares.parquet")
    frozen = build(tmp_path / "squares.parquet", tmp_path / "datasets", "squares", Wanted(("image",)))
    plan = planned(tmp_path / "jobs", frozen, toys("paligemma"), tmp_path / "images", SHORT)
    assert ({"train": 11, "validation": 7}, {"too-long": 1}) == (plan.rows, plan.rejected["validation"])
    assert [("train", "r3"), ("validation", "r17")] == [(row["split"], row["id"]) for row in rejected_rows(plan)]
    assert "and at most 4,096 are taken by" in rejected_rows(plan)[1]["message"]  # its sliding window
    assert "checkpoint" == run(plan)[-1]["event"]


def test_a_completion_with_a_special_token_is_refused_before_anything_is_trained(toys: Toys, tmp_path: Path) -> None:
    talks = [{"prompt": f"say {n}", "completion": f"{n} it is", "routine": str(n)} for n in range(8)]
    talks[1]["completion"] = "one</s>"
    talks[6]["completion"] = "six " * 400
    table = pa.Table.from_pylist([{**row, "split": "train" if n < 5 else "val"} for n, row in enumerate(talks)])
    pq.write_table(table, tmp_path / "said.parquet")
    frozen = build(tmp_path / "said.parquet", tmp_path / "datasets", "said", Wanted(("routine",)))
    base = _short_sighted(toys("mistral"), tmp_path / "base", 300)
    plan = planned(tmp_path / "jobs", frozen, base, None, SHORT, labels=None, completion="completion")
    assert {"train": {"special-token": 1}, "validation": {"too-long": 1}} == plan.rejected
    assert {"train": 4, "validation": 2} == plan.rows
