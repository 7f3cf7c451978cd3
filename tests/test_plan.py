"""What is refused before a run does anything; that every flow asks stands in test_architecture.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.plan import check_name
from tasks.storage.errors import PermanentError
from tasks.translate import plan_translation


@pytest.mark.parametrize("name", ["llava", "mine-2", "mix665k v1.5", "мемы", "_x", "x" * 120])
def test_a_name_for_tables_may_be_in_any_script(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "../llava", "a/b", "a\\b", ".hidden", " x", "a\nb", "x" * 121, "м" * 61])
def test_a_name_that_cannot_begin_a_file_s_is_refused(name: str) -> None:
    with pytest.raises(PermanentError, match="which cannot begin a file's name"):
        check_name(name)


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (("es", "es"), "`source_language` and `target` are both 'es': there is nothing to translate."),
        (("en", "../es"), "'../es' is no language's code. Give one such as 'en' or 'pt-BR'."),
    ],
)
def test_languages_are_looked_at_before_the_source_is_read(languages: tuple[str, str], message: str) -> None:
    source, target = languages
    with pytest.raises(PermanentError) as error:
        plan_translation.fn(Path("source"), target, ["shouting"], 500, None, False, source, "sentence", 0, True)
    assert message == str(error.value)
