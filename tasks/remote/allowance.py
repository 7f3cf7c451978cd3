"""What a service says that it allows: read by its adapter from the headers of an answer, obeyed by the gate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """Limits and what is left of them; None where the service does not say.

    Args:
        requests_per_minute: Allowed.
        requests_left: Of this minute.
        tokens_per_minute: Allowed, prompts and replies.
        tokens_left: Of this minute.
    """

    requests_per_minute: float | None = None
    requests_left: float | None = None
    tokens_per_minute: float | None = None
    tokens_left: float | None = None

    @property
    def shows_room(self) -> bool:
        """Whether the service says that there is some left, and nothing of which there is none."""
        left = [number for number in (self.requests_left, self.tokens_left) if number is not None]
        return bool(left) and min(left) > 0
