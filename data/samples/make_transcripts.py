"""Write the sample transcripts from routines.toml: the same bytes each time.

``transcripts/routine_la-abuela_transcript.jsonl`` is laid out as the predecessor's files, ``la-micro.es.vtt`` has captions
that roll as YouTube's do (each line comes two or three times), ``el-perro.es.srt`` is plain.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
WORDS_PER_SECOND = 2.5
PAUSE_SECONDS = 3.0  # laughter

Line = tuple[float, float, str]


def lines(text: str) -> Iterator[Line]:
    """Start, end and words of each line, spoken at an even pace."""
    at = 1.0
    for line in text.strip().splitlines():
        if not line:
            at += PAUSE_SECONDS
            continue
        end = round(at + len(line.split()) / WORDS_PER_SECOND, 2)
        yield at, end, line
        at = end


def clock(seconds: float, point: str) -> str:
    """``00:00:01.00`` with a point or comma before the milliseconds."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def jsonl(said: list[Line]) -> str:
    """One object per line, as the predecessor wrote them."""
    rows = (
        {
            "start_time": start,
            "end_time": end,
            "transcript": line,
            "transcript_length": len(line),
            "timestamp": f"0:{int(start) // 60:02}:{int(start) % 60:02}",
            "from_whisper": False,
            "language": "es",
        }
        for start, end, line in said
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def rolling_vtt(said: list[Line]) -> str:
    """Each line is shown while it is said under the one before, and then alone for 10 ms."""
    blocks, above = ["WEBVTT\nKind: captions\nLanguage: es"], " "
    for start, end, line in said:
        first, *rest = line.split()
        words = f"{first}" + "".join(f"<{clock(start, '.')}><c> {word}</c>" for word in rest)
        still = round(end - 0.01, 2)
        blocks.append(f"{clock(start, '.')} --> {clock(still, '.')} align:start position:0%\n{above}\n{words}")
        blocks.append(f"{clock(still, '.')} --> {clock(end, '.')} align:start position:0%\n{line}\n ")
        above = line
    return "\n\n".join(blocks) + "\n"


def srt(said: list[Line]) -> str:
    """Numbered captions."""
    blocks = (
        f"{number}\n{clock(start, ',')} --> {clock(end, ',')}\n{line}"
        for number, (start, end, line) in enumerate(said, 1)
    )
    return "\n\n".join(blocks) + "\n"


FORMATS = {
    "jsonl": ("routine_{}_transcript.jsonl", jsonl),
    "vtt": ("{}.es.vtt", rolling_vtt),
    "srt": ("{}.es.srt", srt),
}


def transcripts() -> dict[str, str]:
    """Content by file name."""
    made = {}
    for routine in tomllib.loads((HERE / "routines.toml").read_text("utf-8"))["routine"]:
        name, write = FORMATS[routine["format"]]
        made[name.format(routine["name"])] = write(list(lines(routine["text"])))
    return made


if __name__ == "__main__":
    for name, content in transcripts().items():
        (HERE / "transcripts" / name).write_text(content, "utf-8")
