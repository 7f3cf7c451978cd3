"""Other people's machines as the settings say, each opened once in a process: the journal, chats, their batches.

::

    with asking(): ...                              lets go of all of them at the end
    engine("mistral", "online").ask(questions, …)   through the gate and the purse that all chunks in flight share
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Literal

from prefect import get_run_logger

from tasks.chat import open_chat, split_model
from tasks.chat.asker import Asker
from tasks.chat.batch import AfterBatches, BatchAsker
from tasks.chat.mistral_batch import open_batches
from tasks.chat.prices import Prices, read_prices
from tasks.chat.protocol import Chat, Engine, Keyed
from tasks.chat.purse import Purse
from tasks.engines.shared import Shared
from tasks.remote.journal import Journal
from tasks.settings import Settings, read_options
from tasks.storage.root import DataRoot

Asking = Literal["online", "batch"]


@contextmanager
def asking() -> Iterator[None]:
    """Let go of chats and batches at the end."""
    with ExitStack() as at_the_end:
        for each in (_asker, _purse, _batches):
            at_the_end.callback(each.close)
        yield


def prices() -> Prices:
    """What models cost: our file, and the user's own over it."""
    return read_prices(Settings().prices)


def engine(chat: str, mode: Asking = "online") -> Engine:
    """Who answers questions to a chat.

    Raises:
        PermanentError: There is no such chat, or it cannot be used as it is set.
    """
    root = DataRoot(Settings().data)
    return _batches(chat, root) if mode == "batch" else _purse(chat, root)


def engine_and_model(name: str, mode: Asking = "online") -> tuple[Engine, str]:
    """The same for ``mistral:mistral-small-2603``, and the model's name."""
    chat, model = split_model(name)
    return engine(chat, mode), model


def chat_of(chat: str) -> Chat:
    """The chat itself, for its limits."""
    return _asker(chat, DataRoot(Settings().data)).chat


def check_model(name: str, mode: Asking, *, estimate: bool) -> str:
    """Look at ``mistral:mistral-small-2603`` before anything is asked or paid; the chat's own name.

    Raises:
        PermanentError: There is no such chat, it has no batches, or see ``check_chat``.
    """
    _, model = engine_and_model(name, mode)
    chat = chat_of(split_model(name)[0])
    check_chat(chat, model, estimate=estimate)
    return chat.name


def check_chat(chat: Chat, model: str, *, estimate: bool) -> None:
    """The same for an open chat.

    Args:
        chat: Who is asked.
        model: As the service names it.
        estimate: Whether nothing will be asked: then no key is needed.

    Raises:
        Denied: It has no key.
        PermanentError: The model has no price.
    """
    if isinstance(chat, Keyed) and not estimate:
        chat.check_key()
    prices().of(model)


def _open_journal(root: DataRoot) -> Journal:
    return Journal(root.journal / "answers.sqlite")


def _open_asker(chat: str, root: DataRoot) -> Asker:
    return Asker(open_chat(chat, read_options), journal(root), prices())


def _open_batches(chat: str, root: DataRoot) -> BatchAsker:
    def tell(text: str) -> None:
        get_run_logger().info("%s", text)  # the log of the task that waits

    return BatchAsker(open_batches(_asker(chat, root).chat), journal(root), prices(), tell)


def _open_purse(chat: str, root: DataRoot) -> Purse:
    online = AfterBatches(_asker(chat, root), journal(root), partial(_batches, chat, root))
    return Purse(online)


journal = Shared(_open_journal)
# A chat's client, gate and answers under way serve all chunks in flight, and so does the purse that they share.
_asker = Shared(_open_asker, close=Asker.close)
_purse = Shared(_open_purse)
_batches = Shared(_open_batches)
