"""Translators are found by their file's name."""

from __future__ import annotations

import pytest

from tasks.storage.errors import PermanentError
from tasks.translate import open_translator
from tasks.translators import module_of, names


def test_every_file_is_a_translator_with_options() -> None:
    assert ["apertium", "google", "mistral", "neural", "shouting"] == names()
    for name in names():
        module = module_of(name)
        assert callable(module.open_translator)
        assert all(field.description for field in module.Options.model_fields.values())


@pytest.mark.parametrize("name", ["gogle", "protocol", "packing", "prompted", "", "../google"])
def test_an_unknown_translator_is_named_with_those_that_there_are(name: str) -> None:
    with pytest.raises(PermanentError) as error:
        module_of(name)
    assert (
        str(error.value)
        == f"There is no translator {name!r}. Choose from: apertium, google, mistral, neural, shouting."
    )


def test_a_model_after_the_colon_is_for_translators_that_have_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRASVASE_MISTRAL_URL", "http://127.0.0.1:1")
    mistral = "mistral@http://127.0.0.1:1:{} translate/1 t=0"
    assert mistral.format("mistral-small-2603") == open_translator("mistral", "en", "es").name
    assert mistral.format("mistral-large-4") == open_translator("mistral:mistral-large-4", "en", "es").name
    with pytest.raises(PermanentError, match="'google' has no models to choose from: write 'google' alone"):
        open_translator("google:gemini", "en", "es")
