"""What is refused before a run does anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.jokes import mine_jokes
from flows.memes import read_memes
from flows.mmhs import prepare_mmhs
from flows.translate import translate_llava
from tasks.plan import check_name
from tasks.storage.errors import PermanentError


@pytest.mark.parametrize("name", ["llava", "mine-2", "mix665k v1.5", "мемы", "_x"])
def test_a_name_for_tables_may_be_in_any_script(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "../llava", "a/b", "a\\b", ".hidden", " x", "a\nb"])
@pytest.mark.parametrize("flow", [translate_llava.fn, read_memes.fn, mine_jokes.fn, prepare_mmhs.fn])
def test_a_name_that_cannot_begin_a_file_s_is_refused_at_once(flow: Callable[..., Any], name: str) -> None:
    with pytest.raises(PermanentError, match="which cannot begin a file's name"):
        flow(Path("source"), name=name)
