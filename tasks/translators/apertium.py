r"""Apertium: rule-based, free, offline, deterministic. The translator for tests, demonstrations and outages.

Two texts as they travel through the pipes and come back. The byte 0 flushes every program and parts the
texts; each answer brings back the number of its question::

    The \[red\] house costs 3\/4 of [7e]20 \$.[n1]\0What is the man doing?[n2]\0
    La casa \[roja\] cuesta 3\/4 de [7e]20 \$.[n1]\0Qué es el hombre que hace?[n2]\0

The pipeline is the list of programs in Apertium's mode file (11 for eng-spa), started once and kept. Nothing
is linked: Apertium and its data are GPL and run as processes of their own.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import queue
import re
import selectors
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from pydantic import BaseModel, Field

from tasks.remote.errors import BadAnswer, Misaligned, Unreachable
from tasks.storage.errors import PermanentError
from tasks.translators.protocol import Limits, Translator

INSTALL = "On Debian or Ubuntu: apt-get install --no-install-recommends apertium"

# Apertium names its modes by ISO 639-3, a few old ones by ISO 639-1.
ISO_639_3 = dict(
    pair.split("=")
    for pair in """
    af=afr an=arg ar=ara be=bel bg=bul br=bre ca=cat cy=cym da=dan de=deu en=eng eo=epo es=spa eu=eus fr=fra
    gl=glg hi=hin hr=hrv id=ind is=isl it=ita kk=kaz mk=mkd ms=msa mt=mlt nb=nob nl=nld nn=nno oc=oci pl=pol
    pt=por ro=ron ru=rus sc=srd se=sme sl=slv sr=srp sv=swe tr=tur tt=tat uk=ukr ur=urd
    """.split()
)

# What Apertium's stream format keeps for itself, and what it cannot carry: the last program drops `~`, a `^`
# at the end makes one wait for ever, U+FFFF counts as end of file and shifts all later answers by one, half
# surrogates are not UTF-8. The latter four travel as a code in a blank, which passes through unchanged.
ESCAPED = re.compile(r"[$/<>{}\\*@#+\[\]]")
CODED = re.compile("[~^\0\uffff\ud800-\udfff]")
ANSWERED = re.compile(r"\[([0-9a-f]+)\]|\\(.)", re.DOTALL)


class Options(BaseModel):
    """Where Apertium is and how much of the machine it takes."""

    data: Path = Field(Path("/usr/share/apertium"), description="Folder that holds Apertium's modes/ folder.")
    pipelines: int = Field(min(4, os.cpu_count() or 1), ge=1, description="Pipelines side by side.")
    timeout_seconds: float = Field(60, gt=0, description="After this long a pipeline is replaced.")


class Chain:
    """Programs that each read what the one before writes.

    They end by themselves as soon as nobody holds the end they are fed from, even when we die by SIGKILL.

    Args:
        commands: The programs with their arguments, in order.
    """

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._programs: list[subprocess.Popen[bytes]] = []
        self._answers, self._questions = os.pipe()
        self._complaints, complaints = os.pipe()
        os.set_blocking(self._questions, False)
        os.set_blocking(self._complaints, False)
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        try:
            # No shell between them: it would hold the last pipe open, and a dead program would look slow.
            for command in commands:
                feed = self._answers
                self._answers, sink = os.pipe()
                try:
                    self._programs.append(
                        subprocess.Popen(command, stdin=feed, stdout=sink, stderr=complaints, env=environment)
                    )
                finally:
                    os.close(feed)
                    os.close(sink)
        except OSError as error:
            self.close()
            raise Unreachable(f"Apertium did not start: {error}") from error
        finally:
            os.close(complaints)

    def exchange(self, texts: Sequence[bytes], deadline: float) -> list[bytes]:
        """Write all and read as many; side by side, because full pipes would stop both."""
        self.complaint()
        unsent = memoryview(b"".join(text + b"\0" for text in texts))
        answer, missing = bytearray(), len(texts)
        with selectors.DefaultSelector() as ready:
            ready.register(self._questions, selectors.EVENT_WRITE)
            ready.register(self._answers, selectors.EVENT_READ)
            while missing > 0:
                events = ready.select(max(0.0, deadline - time.monotonic()))
                if not events or time.monotonic() > deadline:
                    raise Unreachable(f"{missing} of {len(texts)} answers of Apertium did not come in time.")
                for key, _ in events:
                    if key.fd == self._answers:
                        piece = os.read(self._answers, 65_536)
                        if not piece:
                            raise Unreachable(f"A program of Apertium ended early. {self.complaint()}")
                        answer += piece
                        missing -= piece.count(0)
                        continue
                    try:
                        unsent = unsent[os.write(self._questions, unsent) :]
                    except BrokenPipeError as error:
                        raise Unreachable(f"A program of Apertium has ended. {self.complaint()}") from error
                    if not unsent:
                        ready.unregister(self._questions)
        if any(program.poll() is not None for program in self._programs):
            # At the end of its input a program writes a zero that nobody asked for.
            raise Unreachable(f"A program of Apertium ended early. {self.complaint()}")
        *answers, rest = bytes(answer).split(b"\0")
        if rest or len(answers) != len(texts):
            raise Misaligned(f"Apertium gave {len(answers)} answers to {len(texts)} texts.")
        return answers

    def complaint(self) -> str:
        """What the programs have written to stderr since the last call."""
        try:
            return os.read(self._complaints, 65_536).decode(errors="replace").strip()
        except BlockingIOError:
            return ""

    def kill(self) -> None:
        """End the programs; who waits for their answer gets ``Unreachable``."""
        for program in self._programs:
            program.kill()

    def close(self) -> None:
        """Leave nothing behind: neither process nor open pipe."""
        self.kill()
        for program in self._programs:
            program.wait()
        for end in (self._questions, self._answers, self._complaints):
            os.close(end)


class Tagger:
    """``apertium-tagger``, replaced as soon as it has met a word that spoils it.

    In Apertium 3.8 a word with a new set of readings overwrites the set for unknown words (tagger_utils.cc
    assigns through a reference), so what comes later depends on what came before: 214 of 3,000 sentences of
    our sample did. With ``-d`` it says so on stderr, for one sentence in 13.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = [command[0], "-d", *command[1:]]
        self._chain = Chain([self._command])

    def exchange(self, texts: Sequence[bytes], deadline: float) -> list[bytes]:
        """Tag one text after the other, so that a complaint belongs to the last one."""
        tagged = []
        for text in texts:
            tagged += self._chain.exchange([text], deadline)
            if self._chain.complaint():
                spoilt, self._chain = self._chain, Chain([self._command])
                spoilt.close()
        return tagged

    def kill(self) -> None:
        self._chain.kill()

    def close(self) -> None:
        self._chain.close()


class Pipeline:
    """All programs of one mode. After an error it is out of step: close it."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._count = 0
        self._parts: list[Chain | Tagger] = []
        try:
            for tagger, group in groupby(commands, lambda command: Path(command[0]).name == "apertium-tagger"):
                programs = list(group)
                self._parts += [Tagger(command) for command in programs] if tagger else [Chain(programs)]
        except Unreachable:
            self.close()
            raise

    def ask(self, texts: Sequence[str], timeout_seconds: float) -> list[str]:
        """Translate the texts, and make sure that each answer belongs to its text."""
        deadline = time.monotonic() + timeout_seconds
        marks = [f"[n{number}]" for number in range(self._count, self._count + len(texts))]
        self._count += len(texts)
        streams = [(encode(text) + mark).encode() for text, mark in zip(texts, marks, strict=True)]
        for part in self._parts:
            streams = part.exchange(streams, deadline)
        try:
            answers = [stream.decode() for stream in streams]
        except UnicodeDecodeError as error:
            raise BadAnswer(f"Apertium's answer is not UTF-8: {error}") from error
        if not all(mark in answer for mark, answer in zip(marks, answers, strict=True)):
            raise Misaligned(f"Apertium's answers do not belong to the {len(texts)} texts.")
        unmarked = [answer.replace(mark, "") for mark, answer in zip(marks, answers, strict=True)]
        return [decode(answer, text) for answer, text in zip(unmarked, texts, strict=True)]

    def kill(self) -> None:
        for part in self._parts:
            part.kill()

    def close(self) -> None:
        for part in self._parts:
            part.close()


class ApertiumTranslator:
    """As many pipelines as threads, each used by one thread at a time and kept from request to request."""

    def __init__(self, name: str, commands: list[list[str]], options: Options) -> None:
        self.name = name
        self.limits = Limits(max_chars=4_000, max_items=128, max_bytes=48_000, at_once=options.pipelines)
        self._commands, self._timeout_seconds = commands, options.timeout_seconds
        self._threads = ThreadPoolExecutor(options.pipelines, thread_name_prefix="apertium")
        self._alive: set[Pipeline] = set()
        self._idle: queue.SimpleQueue[Pipeline] = queue.SimpleQueue()

    async def translate(self, texts: Sequence[str]) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, texts)

    def _ask(self, texts: Sequence[str]) -> list[str]:
        try:
            pipeline = self._idle.get_nowait()
        except queue.Empty:
            pipeline = Pipeline(self._commands)
            self._alive.add(pipeline)
        try:
            answers = pipeline.ask(texts, self._timeout_seconds)
        except BaseException:
            self._alive.remove(pipeline)
            pipeline.close()
            raise
        self._idle.put(pipeline)
        return answers

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for pipeline in self._alive.copy():
            pipeline.kill()
        await asyncio.to_thread(self._threads.shutdown)
        while self._alive:
            self._alive.pop().close()


def encode(text: str) -> str:
    """One text in Apertium's stream format."""
    return CODED.sub(lambda found: f"[{ord(found[0]):x}]", ESCAPED.sub(r"\\\g<0>", text))


def decode(answer: str, text: str) -> str:
    """The plain answer, with the white space around it that ``text`` has (Apertium adds and drops some)."""
    plain = ANSWERED.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], answer)
    core = text.strip()
    return text.replace(core, plain.strip(), 1) if core else text


def open_translator(options: Options, source: str, target: str) -> Translator:
    """Find the mode for the languages; no program is started before the first request.

    Raises:
        PermanentError: Apertium, the mode or one of its programs is not installed.
    """
    modes = {path.stem: path for path in sorted((options.data / "modes").glob("*.mode"))}
    wanted = f"{ISO_639_3.get(source, source)}-{ISO_639_3.get(target, target)}"
    mode = modes.get(wanted) or modes.get(f"{source}-{target}")
    if not modes:
        raise PermanentError(f"Apertium is not installed (no modes in {options.data}). {INSTALL} apertium-{wanted}")
    if mode is None:
        raise PermanentError(
            f"Apertium has no mode {wanted}; installed: {', '.join(modes)}. Install the package "
            f"apertium-{wanted}, or the one with the names the other way round (apt-cache search apertium)."
        )
    commands = [stage_command(stage) for stage in mode.read_text(encoding="utf-8").split("|")]
    missing = {command[0] for command in commands if shutil.which(command[0]) is None}
    if missing:
        raise PermanentError(f"Apertium lacks the programs {', '.join(sorted(missing))}. {INSTALL} apertium-{wanted}")
    return ApertiumTranslator(f"apertium/{mode.stem}@{digest(commands)}", commands, options)


def stage_command(stage: str) -> list[str]:
    """One stage of a mode file, made to flush at each byte 0 and to mark no unknown word with ``*``."""
    program, *words = shlex.split(stage)
    return [program, "-z", *("-n" if word == "$1" else word for word in words if word != "$2")]


def digest(commands: list[list[str]]) -> str:
    """Name programs, options and dictionaries by their content: another dictionary is another translator."""
    state = hashlib.sha256()
    for word in (word for command in commands for word in command):
        path = Path(shutil.which(word) or word)
        state.update(hashlib.sha256(path.read_bytes() if path.is_file() else word.encode()).digest())
    return state.hexdigest()[:8]
