"""What a model is asked. A text that changes gets a new name: it stands in keys, records and reports.

::

    prompt_for(LabelSets.every(["racist", "sexist"])).system
        You judge what a text and an image say together … ["racist", "sexist"] … a JSON array …
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace

from tasks.models.label_sets import LabelSets

TEXT = "{text}"
_LABELS, _RULE = "{labels}", "{rule}"


@dataclass(frozen=True)
class Prompt:
    """A question; each family writes it in its own layout.

    Args:
        name: Name and version, such as ``moderation/1``.
        system: What is to be done.
        user: What stands around the row's text, which comes in place of ``{text}``.
    """

    name: str
    system: str
    user: str = TEXT

    def ask(self, text: str) -> str:
        """The user's part for one row; the text is never searched for placeholders."""
        return self.user.replace(TEXT, text)

    @property
    def key(self) -> str:
        """Name and content: two prompts of one name and different labels are two."""
        content = json.dumps([self.system, self.user]).encode()
        return f"{self.name}@{hashlib.sha256(content).hexdigest()[:8]}"


# A conversation brings its own question.
CONVERSATION = Prompt("conversation/1", "")

MODERATION = Prompt(
    "moderation/1",
    "You are a strict classifier for content moderation. Judge the text and the image together. The labels are "
    '{labels}. Answer with a JSON array that holds {rule}, such as ["label"]. Write nothing but the array.',
)
RUSSIAN_MODERATION = Prompt(
    "russian-moderation/1",
    "Вы помогаете модерировать контент. Оцените картинку и текст на ней вместе: это мем. Метки: {labels}. "
    'Ответьте массивом JSON, в котором {rule}, например ["метка"]. Не пишите ничего, кроме массива.',
    "Текст на картинке: {text}",
)
_RULES = {
    MODERATION.name: (
        "exactly one label",
        "every label that applies, in the order given",
        "every label that applies, in the order given, or nothing ([]) where none does",
    ),
    RUSSIAN_MODERATION.name: (
        "ровно одна метка",
        "все подходящие метки в данном порядке",
        "все подходящие метки в данном порядке, или ничего ([]), если ни одна не подходит",
    ),
}


def prompt_for(label_sets: LabelSets, template: Prompt = MODERATION) -> Prompt:
    """The question that these answers belong to.

    Args:
        label_sets: The labels, as the JSON list that an answer is, and whether one, some or none may be given.
        template: ``MODERATION`` or ``RUSSIAN_MODERATION``.
    """
    one, some, any_of = _RULES[template.name]
    rule = one if label_sets.is_single else any_of if () in label_sets.sets else some
    labels = json.dumps(list(label_sets.labels), ensure_ascii=False)
    return replace(template, system=template.system.replace(_RULE, rule).replace(_LABELS, labels))
