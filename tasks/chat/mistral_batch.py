"""Mistral's files and batches, through the SDK; what is asked and answered, line by line::

    {"custom_id": "9f2c…", "body": {"model": "mistral-small-2603", "messages": […], …}}
    {"id": "77e0…-0", "custom_id": "9f2c…", "response": {"status_code": 200, "body": {"choices": […], …}}, "error": null}

The answers stand in an output file, in any order; lines that failed stand in an error file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

from tasks.chat.batch import Batches, Job
from tasks.chat.mistral import MistralChat, body_of
from tasks.chat.protocol import Chat, Completion, Question, UnknownModel
from tasks.remote.errors import BadAnswer, NoAnswer, TooLarge
from tasks.remote.http import Response
from tasks.storage.errors import PermanentError

if TYPE_CHECKING:
    from mistralai.client import models

MARK = "trasvase"  # of a batch's metadata: the digest of its lines
TIMEOUT_HOURS = 24  # after which the service gives up a batch
_PAGE = 100
_CLOCKS = timedelta(hours=1)  # by which the service's clock and ours may differ


class _Gone(Exception):
    """The service no longer has what was asked for."""


def open_batches(chat: Chat) -> Batches:
    """The batches of a chat.

    Raises:
        PermanentError: It has none.
    """
    if not isinstance(chat, MistralChat):
        raise PermanentError(f"The chat {chat.name!r} has no batches. Leave mode=batch away.")
    return MistralBatches(chat)


class MistralBatches:
    """Files and batches of the account that a chat asks with."""

    def __init__(self, chat: MistralChat) -> None:
        self._chat = chat

    @property
    def name(self) -> str:
        """The chat's."""
        return self._chat.name

    async def upload(self, name: str, lines: bytes) -> str:
        """Store a file of lines; its id."""
        try:
            with self._worded(gone=True):
                stored = await self._chat.sdk.files.upload_async(
                    file={"file_name": name, "content": lines}, purpose="batch"
                )
        except _Gone as error:
            raise PermanentError(
                f"{self.name} takes no files, so it has no batches: leave mode=batch away. If it is Mistral, check "
                "TRASVASE_MISTRAL_URL: it is the address without /v1."
            ) from error
        return stored.id

    async def create(self, file_id: str, model: str, digest: str) -> Job:
        """Submit a file for one model, marked with a digest."""
        try:
            with self._worded():
                created = await self._chat.sdk.batch.jobs.create_async(
                    endpoint="/v1/chat/completions",
                    input_files=[file_id],
                    model=model,
                    metadata={MARK: digest},
                    timeout_hours=TIMEOUT_HOURS,
                )
        except TooLarge as error:
            try:
                listed = await self._chat.models()
            finally:
                await self._chat.aclose()  # a batch needs it no more
            if listed and model not in listed:
                raise UnknownModel(
                    f"{error} It does not list the model {model!r}, which is wrong or retired. Choose one of: "
                    f"{', '.join(sorted(listed))}."
                ) from error
            raise PermanentError(f"{error} It does not take this batch for {model!r}.") from error
        return _job(created)

    async def find(self, digest: str, since: float) -> Job | None:
        """The account's batch with this mark, created after a time (seconds since 1970)."""
        # The service could filter by metadata; that it does so exactly is not promised, and a miss is paid twice.
        after, page = datetime.fromtimestamp(since, UTC) - _CLOCKS, 0
        while True:
            with self._worded():
                listed = await self._chat.sdk.batch.jobs.list_async(page=page, page_size=_PAGE, created_after=after)
            jobs = listed.data or []
            for job in jobs:
                if (job.metadata or {}).get(MARK) == digest:
                    return _job(job)
            page += 1
            if not jobs or page * _PAGE >= listed.total:
                return None

    async def job(self, batch_id: str) -> Job:
        """How a batch stands; ``GONE`` where the service no longer has it."""
        try:
            with self._worded(gone=True):
                return _job(await self._chat.sdk.batch.jobs.get_async(job_id=batch_id))
        except _Gone:
            message = "The service does not have it any more, or another account's key is set."
            return Job(batch_id, "GONE", answered=sys.maxsize, message=message)

    async def download(self, file_id: str, into: IO[bytes]) -> bool:
        """Write a file's content over what is in one of ours; False and nothing where the service no longer has it."""
        into.seek(0)
        into.truncate()
        with suppress(_Gone), self._worded(gone=True):
            response = await self._chat.sdk.files.download_async(file_id=file_id)
            try:
                async for piece in response.aiter_bytes():
                    into.write(piece)
            finally:
                await response.aclose()
            return True
        return False

    async def delete(self, file_id: str) -> None:
        """Delete a file, if it is still there."""
        with suppress(_Gone), self._worded(gone=True):
            await self._chat.sdk.files.delete_async(file_id=file_id)

    async def has(self, file_id: str) -> bool:
        """Whether the account has a file."""
        with suppress(_Gone), self._worded(gone=True):
            await self._chat.sdk.files.retrieve_async(file_id=file_id)
            return True
        return False

    def body(self, question: Question) -> Mapping[str, Any]:
        """What would be sent for a question online."""
        body: dict[str, Any] = json.loads(body_of(question))
        return body

    def completion(self, body: Any) -> Completion:
        """What would come back online.

        Raises:
            BadAnswer: It is none.
        """
        return self._chat.completion(body)

    @contextmanager
    def _worded(self, gone: bool = False) -> Iterator[None]:
        """The SDK's errors, and those of its HTTP client, as the chat's own; with ``gone``, 404 as ``_Gone``."""
        import httpx2
        from mistralai.client import errors

        http = self._chat.http
        try:
            yield
        except errors.NoResponseError as error:
            raise NoAnswer(f"{self.name} gave no answer. Retry: answers so far are kept.") from error
        except errors.MistralError as error:
            if error.status_code == 404 and gone:
                raise _Gone from error
            if error.status_code != 200:
                raw = error.raw_response
                raise self._chat.error_of(Response(raw.status_code, raw.headers, raw.content)) from error
            raise BadAnswer(f"{self.name} gave an answer of another shape: {str(error)[:200]}") from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise http.unreachable(error) from error
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise http.no_address(error) from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise http.unanswered(error) from error


def _job(job: models.BatchJob) -> Job:
    files = tuple(file for file in (job.output_file, job.error_file) if isinstance(file, str) and file)
    message = "; ".join(error.message for error in job.errors)
    return Job(job.id, str(job.status), files, job.succeeded_requests, job.completed_requests, message)
