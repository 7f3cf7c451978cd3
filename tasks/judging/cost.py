"""What a comparison would cost, before anything is asked.

Texts that are not written yet count with the length that a joke has; local models cost nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.chat.estimate import Estimate, billed_rates, estimate, unasked, work_of
from tasks.chat.prices import Prices
from tasks.chat.protocol import Chat, Question
from tasks.judging import prompts, write
from tasks.judging.contestants import Remote
from tasks.judging.plan import Comparison
from tasks.remote.journal import Journal

# Characters of a reply: a joke (the median of 10,989 recorded ones is 142), and a judge's reason.
_REPLIES = {write.PROMPT: 150.0, prompts.JUDGE: 400.0}


def questions_of(comparison: Comparison) -> dict[str, list[Question]]:
    """What would be asked, by chat: both contestants' requests, and every pair in both orders."""
    asked: dict[str, list[Question]] = {}
    conversations = [request.messages for request in comparison.requests.requests]
    for side in comparison.sides:
        who = side.contestant.who
        if isinstance(who, Remote):
            asked.setdefault(who.chat, []).extend(write.questions(conversations, who.model, comparison.sampling))
    # Each pair has other texts, or equal questions would count once.
    texts = [(f"{number:<149}A", f"{number:<149}B") for number in range(len(conversations))]
    judge = asked.setdefault(comparison.judge.partition(":")[0], [])
    for request, (one, other) in zip(comparison.requests.requests, texts, strict=True):
        for first, second in ((one, other), (other, one)):
            judge.append(prompts.ask(comparison.model, request.text, first, second, comparison.variety))
    return asked


def estimate_of(
    comparison: Comparison, services: Mapping[str, Chat], journal: Journal, prices: Prices, batch: bool
) -> list[Estimate]:
    """What it would cost, one estimate per service.

    Args:
        comparison: What is to be compared.
        services: Who answers, by chat's name.
        journal: What it knows costs nothing; it also knows how long a service takes.
        prices: What models cost.
        batch: Whether it would go in batches.

    Raises:
        PriceUnknown: A model has no price.
    """
    found = []
    for chat, questions in questions_of(comparison).items():
        service = services[chat]
        work = work_of(unasked(questions, service.name, journal), prices, _REPLIES)
        rates = billed_rates(questions, service.name, journal)
        found.append(estimate(work, prices, rates, service.limits, journal.seconds_each(service.name), batch))
    return found
