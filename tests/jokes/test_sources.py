"""Every routine comes out once: as a transcript, or with a message that names file, line and next step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.jokes.sources import MAX_WORD_CHARS, BadSource, BadTranscript, read_transcripts
from tasks.jokes.transcript import Segment, Transcript
from tasks.storage.errors import TornFile
from tests.jokes import told

_TEXT = " ".join(told.JOKES)
_WORDS = tuple(_TEXT.split())
_LINES = [told.line(segment.start, segment.end, segment.text) for segment in told.segments()]
_ENGLISH = (
    "my grandmother bought a talking clock and since then the two of them argue about when it is time for lunch and "
    "the neighbours come over to listen because it is better than the radio"
)


def _read(path: Path) -> list[Transcript | BadTranscript]:
    return list(read_transcripts(path, "es"))


def _good(path: Path) -> Transcript:
    (item,) = _read(path)
    assert isinstance(item, Transcript), item
    return item


def _bad(path: Path) -> BadTranscript:
    (item,) = _read(path)
    assert isinstance(item, BadTranscript), item
    assert str(path) in item.message
    assert str(path) == item.origin
    return item


def _rows(routine: Any = 1, lines: list[dict[str, Any]] = _LINES) -> list[dict[str, Any]]:
    return [
        {"routine_id": routine, **{k: line[k] for k in ("start_time", "end_time", "transcript", "language")}}
        for line in lines
    ]


def _parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_all_formats_give_the_same_words_and_times(tmp_path: Path) -> None:
    jsonl = told.write_jsonl(tmp_path / "routine_1_transcript.jsonl", _LINES)
    vtt = told.write_vtt(tmp_path / "1.es.vtt", told.segments())
    srt = told.write_srt(tmp_path / "1.srt", told.segments())
    table = _parquet(tmp_path / "routines.parquet", _rows())
    other = _parquet(
        tmp_path / "other.parquet",
        [
            {"routine": "1", "start": s.start, "end": s.end, "text": s.text, "language": "es-CL"}
            for s in told.segments()
        ],
    )
    for path in (jsonl, vtt, srt, table, other):
        assert Transcript("1", "es", tuple(told.segments()), str(path)) == _good(path)


def test_rolling_captions_come_out_once_from_vtt_and_srt(tmp_path: Path) -> None:
    captions = told.rolling([segment.text for segment in told.segments()])
    assert _WORDS == _good(told.write_vtt(tmp_path / "1.vtt", captions)).words
    assert _WORDS == _good(told.write_srt(tmp_path / "2.srt", captions)).words


def test_tags_entities_and_line_ends_of_windows_are_no_words(tmp_path: Path) -> None:
    text = "WEBVTT\r\n\r\nNOTE nada\r\n\r\nuno\r\n00:01.000 --> 00:02.500 line:0\r\n<v Roger>Tom &amp; <i>Jerry</i>\r\n\r\n"
    path = tmp_path / "1.vtt"
    path.write_bytes(text.encode())
    assert (Segment(1.0, 2.5, "Tom & Jerry"),) == _good(path).segments
    srt = tmp_path / "2.srt"
    srt.write_bytes(b"1\r\n00:00:01,000 --> 00:00:02,500\r\n{\\an8}<font color=red>5 < 6</font>\r\n \r\n")
    assert (Segment(1.0, 2.5, "5 < 6"),) == _good(srt).segments


# What ffmpeg 9 makes of YouTube's captions, for yt-dlp's --convert-subs srt: lines of one blank, and \\h for a hard one.
_BY_FFMPEG = """\
1
00:00:00,320 --> 00:00:02,389
<SP>
llega un tipo al médico

2
00:00:02,389 --> 00:00:02,399
llega un tipo al médico
<SP>

3
00:00:02,399 --> 00:00:04,190
llega un tipo al médico
[Música]

4
00:00:04,190 --> 00:00:04,200
[Música]
<SP>

5
00:00:10,879 --> 00:00:12,000
<SP>
me\\hduele todo

""".replace("<SP>", " ")


def test_subrip_that_ffmpeg_made_of_captions_that_roll_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "1.srt"
    path.write_text(_BY_FFMPEG, encoding="utf-8")
    said = (Segment(0.32, 2.389, "llega un tipo al médico"), Segment(10.879, 12.0, "me duele todo"))
    assert said == _good(path).segments


_ONE, _TWO, _THREE = (
    "00:01.000 --> 00:02.000\nuno\n",
    "00:02.000 --> 00:03.000\ndos\n",
    "00:03.000 --> 1001:00:04.000\ntres",
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("1.vtt", f"WEBVTT\nLanguage: es\n{_ONE}{_TWO}3\n{_THREE}"),
        ("1.vtt", f"WEBVTT\n\nNOTE nada\n\n     \n\n  \n1\n{_ONE}\n \n{_TWO}\n{_THREE}"),
        ("1.srt", f"1\n{_ONE}2\n{_TWO}3\n{_THREE}\n"),
        ("1.srt", f"\n1\n{_ONE}\ndos\n\n{_THREE}"),
    ],
)
def test_a_time_begins_a_caption_whatever_lines_are_missing_or_empty(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    transcript = _good(path)
    assert ("uno", "dos", "tres") == transcript.words
    assert Segment(3.0, 3_603_604.0, "tres") == transcript.segments[-1]


def test_a_caption_that_is_called_like_a_comment_is_a_caption(tmp_path: Path) -> None:
    path = tmp_path / "1.vtt"
    path.write_text("WEBVTT\n\nNOTE\n00:01.000 --> 00:02.500\nhola\n\nSTYLE\n::cue { color: red }\n")
    assert ("hola",) == _good(path).words


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    plain = told.write_jsonl(tmp_path / "routine_1_transcript.jsonl", _LINES)
    expected = _good(plain).segments
    plain.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    assert expected == _good(plain).segments
    vtt = told.write_vtt(tmp_path / "1.vtt", told.segments())
    vtt.write_bytes(b"\xef\xbb\xbf" + vtt.read_bytes())
    assert expected == _good(vtt).segments


@pytest.mark.parametrize(
    ("encoding", "named", "line"),
    [("cp1252", "Windows-1252", 2), ("utf-16", "UTF-16", 1), ("utf-16-le", "UTF-16", 1)],
)
def test_other_encodings_are_refused_by_name(tmp_path: Path, encoding: str, named: str, line: int) -> None:
    path = told.write_jsonl(
        tmp_path / "routine_1_transcript.jsonl", [told.line(0, 1, "hola"), told.line(1, 2, "médico")]
    )
    path.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    bad = _bad(path)
    assert ("not-utf8", line) == (bad.code, bad.position)
    assert named in bad.message
    assert "iconv" in bad.message


def test_text_that_was_read_as_latin_1_and_saved_is_refused(tmp_path: Path) -> None:
    wrong = "llega un tipo al médico".encode().decode("latin-1")
    bad = _bad(told.write_jsonl(tmp_path / "1.jsonl", [told.line(0, 1, "hola"), told.line(1, 2, wrong)]))
    assert ("mojibake", 2) == (bad.code, bad.position)
    assert "iconv" in bad.message


@pytest.mark.parametrize("name", ["1.jsonl", "1.vtt", "1.srt"])
def test_an_empty_routine_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("WEBVTT\n" if name.endswith("vtt") else "")
    bad = _bad(path)
    assert "empty" == bad.code
    assert "Leave the file out, or transcribe it again." in bad.message


def test_a_routine_of_music_only_is_empty(tmp_path: Path) -> None:
    assert (
        "empty" == _bad(told.write_jsonl(tmp_path / "1.jsonl", [told.line(0, 1, "[Música]"), told.line(1, 2, "")])).code
    )


def test_a_torn_line_is_refused_with_its_number(tmp_path: Path) -> None:
    bad = _bad(told.write_jsonl(tmp_path / "1.jsonl", [_LINES[0], '{"start_time": 3, "end_t']))
    assert ("torn", 2) == (bad.code, bad.position)
    assert "1.jsonl, line 2 is no JSON" in bad.message
    assert "Get the file again, or mend the line." in bad.message


@pytest.mark.parametrize("given", ['["hola"]', '{"start_time": 3, "end_time": 4}'])
def test_a_line_without_a_field_is_refused(tmp_path: Path, given: str) -> None:
    bad = _bad(told.write_jsonl(tmp_path / "1.jsonl", [_LINES[0], given]))
    assert ("no-field", 2) == (bad.code, bad.position)
    assert "transcript. Mend or remove the line." in bad.message


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (told.line(float("nan"), 4, "hola"), "bad-time", "line 2: the start is nan, no time"),
        (told.line(3, float("inf"), "hola"), "bad-time", "line 2: the end is inf, no time"),
        (told.line(-3, 4, "hola"), "bad-time", "line 2: the start is -3, no time"),
        (told.line(3, 10**400, "hola"), "bad-time", "line 2: the end is 1000"),
        (told.line("0:03", 4, "hola"), "bad-time", "line 2: the start is '0:03', not seconds"),
        (told.line(True, 4, "hola"), "bad-time", "line 2: the start is True, not seconds"),
        (told.line(3, None, "hola"), "bad-time", "line 2: the end is None, not seconds"),
        (told.line(3, 4, None), "no-text", "line 2: the text is None"),
        ('{"start_time": 3, "end_time": 4, "transcript": "\\ud83d"}', "not-unicode", "half a surrogate pair"),
        (told.line(3, 4, "j" * (MAX_WORD_CHARS + 1)), "no-speech", "line 2: a word of more than 200 characters"),
    ],
)
def test_values_that_are_none_are_refused(tmp_path: Path, line: dict[str, Any] | str, code: str, said: str) -> None:
    bad = _bad(told.write_jsonl(tmp_path / "1.jsonl", [_LINES[0], line]))
    assert (code, 2) == (bad.code, bad.position)
    assert said in bad.message
    assert bad.message.endswith("Mend or remove the line.")


def test_segments_out_of_order_are_sorted_and_it_is_said(tmp_path: Path) -> None:
    lines = [_LINES[0], _LINES[2], _LINES[1], *_LINES[3:]]
    transcript = _good(path := told.write_jsonl(tmp_path / "1.jsonl", lines))
    assert tuple(told.segments()) == transcript.segments
    assert (
        f"{path}: 1 segments stand after later ones, the first in line 3; sorted by their start.",
    ) == transcript.notes


def test_an_end_before_its_start_is_moved_and_it_is_said(tmp_path: Path) -> None:
    transcript = _good(path := told.write_jsonl(tmp_path / "1.jsonl", [*_LINES[:-1], {**_LINES[-1], "end_time": 1}]))
    assert transcript.segments[-1].start == transcript.segments[-1].end
    assert 1 == len(transcript.notes)
    assert f"{path}: 1 segments end before they begin, the first in line {len(_LINES)};" in transcript.notes[0]


def test_overlapping_segments_keep_their_times_and_it_is_said(tmp_path: Path) -> None:
    transcript = _good(told.write_jsonl(tmp_path / "1.jsonl", [{**_LINES[0], "end_time": 4.5}, *_LINES[1:]]))
    assert 4.5 == transcript.segments[0].end
    assert ["1 segments begin before the one before them ends; their times are kept."] == [
        note.split(": ", 1)[1] for note in transcript.notes
    ]


def test_lines_that_were_appended_twice_are_taken_once_and_it_is_said(tmp_path: Path) -> None:
    doubled = told.write_jsonl(tmp_path / "1.jsonl", [*_LINES, *_LINES])
    transcript = _good(doubled)
    assert _WORDS == transcript.words
    assert any(f"{len(_LINES)} segments stand there twice" in note for note in transcript.notes)


def test_the_opening_that_the_predecessor_wrote_twice_is_taken_once_and_it_is_said(tmp_path: Path) -> None:
    first = {**_LINES[0], "transcript": "mi abuela se compró " + _LINES[0]["transcript"]}
    transcript = _good(told.write_jsonl(tmp_path / "1.jsonl", [first, *_LINES[1:]]))
    assert _WORDS == transcript.words
    assert "the first segment says 'mi abuela se compró' twice in a row" in transcript.notes[0]


def test_captions_may_say_their_opening_twice(tmp_path: Path) -> None:
    twice = "muy buenas noches muy buenas noches a todos ustedes"
    assert twice == _good(told.write_srt(tmp_path / "1.srt", [Segment(0.0, 3.0, twice)])).segments[0].text


def test_a_routine_in_another_language_is_refused(tmp_path: Path) -> None:
    bad = _bad(told.write_jsonl(tmp_path / "1.jsonl", [told.line(0, 9, _ENGLISH, language="es")]))
    assert "other-language" == bad.code
    assert "its words are en, not es. Leave the file out, or start a run with language='en'." in bad.message


def test_what_is_declared_wrongly_is_said_and_what_is_heard_counts(tmp_path: Path) -> None:
    """Whisper declared one of the predecessor's 130 routines to be English; it is not."""
    transcript = _good(told.write_jsonl(tmp_path / "1.jsonl", [{**line, "language": "english"} for line in _LINES]))
    assert _WORDS == transcript.words
    assert "it declares the language 'english', but its words are es." in transcript.notes[0]


def test_too_few_words_are_believed_what_they_declare(tmp_path: Path) -> None:
    assert "other-language" == _bad(told.write_jsonl(tmp_path / "1.jsonl", [told.line(0, 1, "no", language="en")])).code
    assert ("no",) == _good(told.write_jsonl(tmp_path / "1.jsonl", [told.line(0, 1, "no")])).words


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("00:01.000 --> 00:02.000\nhola\n", 1, "is not WEBVTT"),
        ("WEBVTT\n\n00:01.000 --> 00:0x.000\nhola\n", 3, "is no pair of times"),
        ("WEBVTT\n\n00:01.000 -->\n", 3, "is no pair of times"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nhola\n\nperdido y solo\n", 6, "belongs to no caption"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\nhola\n00:02.000 --> nunca\nchao\n", 5, "is no pair of times"),
        ("1\n00:00:01,000 --> 00:00:02,000\nhola\n\n2\n00:00:02,0", 5, "'2' belongs to no caption"),
        ("1\n00:00:01,000 --> 00:00:02,000\nhola\n\n00:00:02,000 -", 5, "'00:00:02,000 -' belongs to no caption"),
        ("hola\n\n1\n00:00:01,000 --> 00:00:02,000\nhola\n", 1, "'hola' belongs to no caption"),
    ],
)
def test_captions_that_are_torn_are_refused_with_the_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / ("1.vtt" if text.startswith(("WEBVTT", "00")) else "1.srt")
    path.write_text(text)
    bad = _bad(path)
    assert ("torn", line) == (bad.code, bad.position)
    assert said in bad.message
    assert f"line {line}" in bad.message


def test_a_folder_gives_every_routine_once(tmp_path: Path) -> None:
    told.write_jsonl(tmp_path / "routine_10_transcript.jsonl", _LINES)
    told.write_vtt(tmp_path / "11.es.vtt", told.segments())
    english = [Segment(0.0, 9.0, _ENGLISH)]
    told.write_vtt(tmp_path / "11.en.vtt", english, "WEBVTT\nLanguage: en\n")
    told.write_srt(tmp_path / "11.srt", told.segments())
    _parquet(tmp_path / "more.parquet", [*_rows(12), *_rows(13, [told.line(0, 1, "")])])
    (tmp_path / "notes.txt").write_text("nada")
    (tmp_path / ".hidden").write_text("nada")

    items = _read(tmp_path)

    assert [
        ("11", "other-language"), ("11", None), ("11", "second-file"), ("12", None), ("13", "empty"),
        ("notes", "unknown-format"), ("10", None),
    ] == [(item.routine, getattr(item, "code", None)) for item in items]  # fmt: skip
    second = items[2]
    assert isinstance(second, BadTranscript)
    assert "11.es.vtt has a routine '11' too. Keep one of the two files." in second.message


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist(_rows("a")).slice(0, 0), path)
    bad = _bad(path)
    assert ("t", "empty") == (bad.routine, bad.code)


def test_rows_of_a_table_without_a_routine_are_refused(tmp_path: Path) -> None:
    items = _read(path := _parquet(tmp_path / "t.parquet", [*_rows("a"), *_rows(None)]))
    assert ["a", ""] == [item.routine for item in items]
    bad = items[1]
    assert isinstance(bad, BadTranscript)
    assert ("no-routine", len(_LINES)) == (bad.code, bad.position)
    assert f"{path}, row {len(_LINES)} and {len(_LINES) - 1} more name no routine. Fill it in." == bad.message


def test_a_message_about_a_table_names_its_row(tmp_path: Path) -> None:
    bad = _bad(_parquet(tmp_path / "t.parquet", _rows("a", [*_LINES, told.line(3, float("nan"), "hola")])))
    assert ("bad-time", len(_LINES)) == (bad.code, bad.position)
    assert f"routine a, row {len(_LINES)}: the end is nan" in bad.message


def test_sources_that_cannot_be_read_at_all_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadSource, match=r"does not exist\. Name a transcript"):
        _read(tmp_path / "nowhere")
    with pytest.raises(BadSource, match=r"holds no transcripts\. Put"):
        _read(tmp_path)
    with pytest.raises(BadSource, match="has no column text or transcript; it has routine, start, end"):
        _read(_parquet(tmp_path / "t.parquet", [{"routine": 1, "start": 0.0, "end": 1.0}]))
    with pytest.raises(BadSource, match="'xx' is no language"):
        list(read_transcripts(tmp_path, "xx"))
    (tmp_path / "u.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(TornFile, match=r"u\.parquet is not a whole Parquet file"):
        _read(tmp_path / "u.parquet")
