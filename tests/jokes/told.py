"""A routine that nobody ever told: jokes made up for these tests, and the captions that YouTube would make of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.jokes.transcript import Segment, Transcript

# Transcripts and recorded jokes of the predecessor: for benches and tests on this machine, never committed.
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "jokes"

JOKES = (
    "mi abuela se compró un reloj que habla y desde entonces discuten los dos por la hora de almuerzo",
    "fui al médico y le dije doctor me olvido de todo y él me dijo desde cuándo le pasa y yo le dije desde cuándo qué",
    "mi vecino le enseñó a leer al perro y ahora el perro no ladra manda cartas de reclamo a la municipalidad",
    "un pingüino entra a una heladería y pide algo caliente porque anda con la garganta mala dice el pobre",
    "yo hice dieta tres días y lo único que perdí fueron tres días fíjate tú qué maravilla de método",
    "le pregunté a mi guagua qué quería ser cuando grande y me miró como diciendo grande como quién oiga",
    "en mi casa mandaba mi mamá y cuando mi mamá no estaba mandaba el teléfono porque podía llamar ella",
    "el otro día se me perdió el año nuevo salí a buscar pan y cuando volví ya estaban todos abrazados",
    "mi tío es tan puntual que llegó al cumpleaños antes que yo naciera y se comió él solo la torta",
    "compré un colchón con memoria y ahora me echa en cara todo lo que ronqué la semana pasada",
)  # fmt: skip


def segments(text: str = " ".join(JOKES), words: int = 8, seconds: float = 3.0) -> list[Segment]:
    """As many words in each, one after the other without a pause."""
    said = text.split()
    return [
        Segment(number * seconds, (number + 1) * seconds, " ".join(said[at : at + words]))
        for number, at in enumerate(range(0, len(said), words))
    ]


def transcript(text: str = " ".join(JOKES), words: int = 8) -> Transcript:
    """A routine of these words."""
    return Transcript("1", "es", tuple(segments(text, words)), "1.vtt")


def rolling(lines: Sequence[str]) -> list[Segment]:
    """Each line beside the one before it, and then for 10 ms alone: what YouTube makes of speech."""
    captions = []
    for number, line in enumerate(lines):
        shown = [*lines[max(number - 1, 0) : number], line]
        captions.append(Segment(2.0 * number, 2.0 * number + 1.99, "\n".join(shown)))
        captions.append(Segment(2.0 * number + 1.99, 2.0 * number + 2.0, line))
    return captions


def clock(seconds: float, point: str = ".") -> str:
    """A time as captions have it."""
    return f"{int(seconds) // 3600:02}:{int(seconds) // 60 % 60:02}:{seconds % 60:06.3f}".replace(".", point)


def write_vtt(path: Path, captions: Sequence[Segment], head: str = "WEBVTT\nKind: captions\nLanguage: es\n") -> Path:
    """A WebVTT file with tags as YouTube writes them on the words that are being said."""
    blocks = [head]
    for start, end, text in captions:
        *old, new = text.splitlines()
        tagged = "<00:00:01.000>".join(f"<c> {word}</c>" for word in new.split())
        tagged = tagged if end - start > 0.05 else new
        shown = "\n".join([*(old or [" "]), tagged])
        blocks.append(f"{clock(start)} --> {clock(end)} align:start position:0%\n{shown}\n")
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def write_srt(path: Path, captions: Sequence[Segment]) -> Path:
    """A SubRip file."""
    blocks = [
        f"{number}\n{clock(start, ',')} --> {clock(end, ',')}\n{text}\n"
        for number, (start, end, text) in enumerate(captions, start=1)
    ]
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def line(start: Any, end: Any, text: Any, **more: Any) -> dict[str, Any]:
    """One line of the predecessor's files."""
    return {"start_time": start, "end_time": end, "transcript": text, "from_whisper": False, "language": "es", **more}


def write_jsonl(path: Path, lines: Sequence[dict[str, Any] | str]) -> Path:
    """A predecessor's file; a line that is text is written as it is."""
    texts = [given if isinstance(given, str) else json.dumps(given, ensure_ascii=False) for given in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path
