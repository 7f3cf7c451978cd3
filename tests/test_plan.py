"""What is refused before a run does anything; that every flow asks stands in test_architecture.py."""

from __future__ import annotations

import pytest

from tasks.plan import check_name
from tasks.storage.errors import PermanentError


@pytest.mark.parametrize("name", ["llava", "mine-2", "mix665k v1.5", "мемы", "_x", "x" * 120])
def test_a_name_for_tables_may_be_in_any_script(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "../llava", "a/b", "a\\b", ".hidden", " x", "a\nb", "x" * 121, "м" * 61])
def test_a_name_that_cannot_begin_a_file_s_is_refused(name: str) -> None:
    with pytest.raises(PermanentError, match="which cannot begin a file's name"):
        check_name(name)
