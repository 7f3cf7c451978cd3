"""What other people's machines answer when they do not answer the question.

The kind is decided where the response is in hand, from its status code and content type, never later from words.
"""

from __future__ import annotations

from tasks.remote.allowance import Allowance
from tasks.storage.errors import PermanentError, TransientError


class Throttled(TransientError):
    """The service asks for a pause (429, or 503 with Retry-After)."""

    def __init__(
        self, message: str, retry_after_seconds: float | None = None, allowance: Allowance | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.allowance = allowance


class Unreachable(TransientError):
    """No connection, a connection that broke, no answer in time, or a 5xx."""


class NoAnswer(Unreachable):
    """The request went out and no whole answer came back: the service may have done the work, and billed it."""


class BadAnswer(TransientError):
    """An answer came and is not one: HTML, truncated JSON, another shape."""


class Echoed(BadAnswer):
    """The question came back as its own answer; when it does so every time, that is the answer."""


class Misaligned(BadAnswer):
    """The answer cannot be laid beside what was asked; a smaller request may do."""


class CircuitOpen(TransientError):
    """The service refused so often in a row that nobody asks it for a while."""


class TooLarge(PermanentError):
    """The service will not take this request (400, 413, 414); a smaller one may do."""


class Denied(PermanentError):
    """The service will not serve us at all (401, 403, a wrong key or client)."""
