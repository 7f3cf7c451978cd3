"""What goes out as TMX comes back byte for byte; what other tools write is read; what is broken or hostile is named."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.llava.corrections import Choice
from tasks.llava.tmx import BadTmx, Entry, read_tmx, write_tmx

AT = datetime(2026, 11, 20, 10, 15, tzinfo=UTC)

TEXTS = {
    "<image>\nIs the bus white & red?": "<image>\n¿El autobús es blanco y rojo?",
    "One line.\r\nThe next one.\rAnd one more.": "Una línea.\r\nLa siguiente.\rY una más.",
    "  Two spaces before, a tab after\t": "  Dos espacios delante, un tabulador detrás\t",
    "A smile 😀, a family 👨‍👩‍👧 and a flag 🇪🇸.": "Una sonrisa 😀, una familia 👨‍👩‍👧 y una bandera 🇪🇸.",
    "The sign says \u202bשלום עולם\u202c.": "El cartel dice \u202bשלום עולם\u202c.",
    "Old\x85breaks\u2028of\u2029lines": "Viejos\x85saltos\u2028de\u2029línea",
    'He said: "a < b && b > c" ]]> &amp; &#13;': 'Dijo: "a < b && b > c" ]]> &amp; &#13;',
    "\n": "\n",
    "": "",
}


def _choice(text: str, by: tuple[str, ...] = ("reviewer-3f2a9c01",), at: datetime | None = AT) -> Choice:
    return Choice(text, by, at, "edited", max(len(by), 1))


def _written(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "memory.tmx"
    path.write_bytes(text.encode(encoding))
    return path


def _pairs(path: Path, source: str = "en", target: str = "es") -> list[tuple[str, str]]:
    return [(entry.source, entry.target) for entry in read_tmx(path, source, target)]


def _one_unit(source: str, target: str) -> str:
    return (
        '<tmx version="1.4"><header/><body><tu>'
        f'<tuv xml:lang="en"><seg>{source}</seg></tuv><tuv xml:lang="es"><seg>{target}</seg></tuv>'
        "</tu></body></tmx>"
    )


def test_every_text_comes_back_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "out" / "memory.tmx"

    written = write_tmx(path, {source: _choice(target) for source, target in TEXTS.items()}, "en", "es")

    assert (len(TEXTS), []) == (written.entries, written.left_out)
    assert TEXTS == dict(_pairs(path))


def test_another_parser_reads_the_same_texts_and_all_that_the_format_demands(tmp_path: Path) -> None:
    etree: Any = pytest.importorskip("lxml.etree")
    path = tmp_path / "memory.tmx"
    write_tmx(path, {source: _choice(target) for source, target in TEXTS.items()}, "en", "es")

    tree = etree.parse(path)

    assert sorted(TEXTS.items()) == [tuple(seg.text or "" for seg in tu.iter("seg")) for tu in tree.iter("tu")]
    assert ("tmx", {"version": "1.4"}) == (tree.getroot().tag, dict(tree.getroot().attrib))
    header = tree.getroot()[0]
    assert ("trasvase", "block", "en", "plaintext") == tuple(
        header.get(name) for name in ("creationtool", "segtype", "srclang", "datatype")
    )
    assert all(header.get(name) for name in ("creationtoolversion", "o-tmf", "adminlang"))
    assert {("prop", "prop", "tuv", "tuv")} == {tuple(each.tag for each in tu) for tu in tree.iter("tu")}


def test_who_and_when_go_along(tmp_path: Path) -> None:
    path = tmp_path / "memory.tmx"
    choices = {
        "Is the bus white?": _choice("¿El autobús es blanco?", ("reviewer-3f2a9c01", "reviewer-77d01b2e")),
        "What is this?": _choice("¿Qué es esto?", (), None),
    }

    write_tmx(path, choices, "en", "es")

    assert [
        Entry("Is the bus white?", "¿El autobús es blanco?", 5, AT, ("reviewer-3f2a9c01", "reviewer-77d01b2e")),
        Entry("What is this?", "¿Qué es esto?", 12, None, ()),
    ] == list(read_tmx(path, "en", "es"))


def test_equal_choices_give_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.tmx", tmp_path / "second.tmx"
    choices = {source: _choice(target) for source, target in TEXTS.items()}

    write_tmx(first, choices, "en", "es")
    write_tmx(second, dict(reversed(choices.items())), "en", "es")

    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("character", ["\0", "\x07", "\x1b", "\ud83d", "\ufffe", "\uffff"])
def test_what_xml_cannot_carry_is_left_out_and_named(tmp_path: Path, character: str) -> None:
    path = tmp_path / "memory.tmx"
    choices = {"A bus.": _choice("Un autobús."), f"A{character}dog.": _choice("Un perro.")}

    written = write_tmx(path, {**choices, "A cat.": _choice(f"Un{character}gato.")}, "en", "es")

    code = f"U+{ord(character):04X} cannot stand in XML"
    assert {f"{f'A{character}dog.'!r}: {code}", f"'A cat.': {code}"} == set(written.left_out)
    assert (1, [("A bus.", "Un autobús.")]) == (written.entries, _pairs(path))


OMEGAT = """\
<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<!DOCTYPE tmx SYSTEM "tmx11.dtd">
<tmx version="1.1">
  <header creationtool="OmegaT" o-tmf="OmegaT TMX" adminlang="EN-US" datatype="plaintext" \
creationtoolversion="6.0.1_0_abcdef" segtype="sentence" srclang="EN-US"/>
  <body>
<!-- Default translations -->
    <tu>
      <tuv lang="EN-US">
        <seg>The bus is parked &amp; empty.</seg>
      </tuv>
      <tuv lang="ES" changeid="ana" changedate="20240305T101112Z" creationid="luis" creationdate="20240301T090000Z">
        <seg>El autobús está aparcado y vacío.</seg>
      </tuv>
    </tu>
<!-- Alternative translations -->
    <tu>
      <prop type="file">llava.txt</prop>
      <prop type="prev">Is it raining?</prop>
      <prop type="next"></prop>
      <note>Ask the client.</note>
      <tuv lang="EN-US">
        <seg>No.</seg>
      </tuv>
      <tuv lang="ES" creationid="luis" creationdate="20240301T090000Z">
        <seg>No llueve.</seg>
      </tuv>
    </tu>
  </body>
</tmx>
"""

OMEGAT_LEVEL_2 = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4">
  <header creationtool="OmegaT" o-tmf="OmegaT TMX" adminlang="EN-US" datatype="plaintext" \
creationtoolversion="6.0.1" segtype="sentence" srclang="EN-US"/>
  <body>
    <tu>
      <tuv xml:lang="EN-US">
        <seg>A <bpt i="0" x="0">&lt;b0&gt;</bpt>red<ept i="0">&lt;/b0&gt;</ept> bus.</seg>
      </tuv>
      <tuv xml:lang="ES">
        <seg>Un autobús <bpt i="0" x="0">&lt;b0&gt;</bpt>rojo<ept i="0">&lt;/b0&gt;</ept>.</seg>
      </tuv>
    </tu>
  </body>
</tmx>
"""

MEMOQ = """\
<?xml version="1.0" encoding="utf-8"?>
<tmx version="1.4">
  <header creationtool="MemoQ" creationtoolversion="10.4.6" segtype="sentence" adminlang="en-us" creationid="ana" \
srclang="en" o-tmf="MemoQTM" datatype="unknown">
    <prop type="defclient">
    </prop>
    <prop type="defproject">LLaVA</prop>
    <prop type="targetlang">es-ES</prop>
    <prop type="name">LLaVA_EN_ES</prop>
  </header>
  <body>
    <tu changedate="20240305T101112Z" creationdate="20240301T090000Z" creationid="luis" changeid="ana">
      <prop type="client">
      </prop>
      <prop type="corrected">no</prop>
      <prop type="aligned">no</prop>
      <prop type="x-document">llava.docx</prop>
      <tuv xml:lang="en">
        <prop type="x-context-pre">&lt;seg&gt;Is it raining?&lt;/seg&gt;</prop>
        <seg><ph type='image'>&lt;image&gt;</ph><ph type='lb'>{}</ph>Is the <bpt i='1' type='bold'>{}</bpt>bus\
<ept i='1'>{}</ept> white?</seg>
      </tuv>
      <tuv xml:lang="es-es">
        <seg><ph type='image'>&lt;image&gt;</ph><ph type='lb'>{}</ph>¿Es blanco el <bpt i='1' type='bold'>{}</bpt>\
autobús<ept i='1'>{}</ept>?</seg>
      </tuv>
    </tu>
  </body>
</tmx>
"""


def test_a_project_s_memory_as_omegat_writes_it_is_read(tmp_path: Path) -> None:
    entries = list(read_tmx(_written(tmp_path, OMEGAT), "en", "es"))

    changed, created = (
        datetime(2024, 3, 5, 10, 11, 12, tzinfo=UTC),
        datetime(2024, 3, 1, 9, tzinfo=UTC),
    )
    assert [
        Entry("The bus is parked & empty.", "El autobús está aparcado y vacío.", 7, changed, ("ana",)),
        Entry("No.", "No llueve.", 16, created, ("luis",)),
    ] == entries


def test_omegat_s_level_2_is_read_without_its_tags(tmp_path: Path) -> None:
    assert [("A red bus.", "Un autobús rojo.")] == _pairs(_written(tmp_path, OMEGAT_LEVEL_2))


def test_a_memory_as_memoq_writes_it_is_read_with_its_image_token(tmp_path: Path) -> None:
    (entry,) = read_tmx(_written(tmp_path, MEMOQ), "en", "es")

    assert ("<image>\nIs the bus white?", "<image>\n¿Es blanco el autobús?") == (entry.source, entry.target)
    assert (datetime(2024, 3, 5, 10, 11, 12, tzinfo=UTC), ("ana",)) == (entry.at, entry.by)


@pytest.mark.parametrize(
    ("segment", "text"),
    [
        ("a <hi type='term'>red <hi>old</hi></hi> bus", "a red old bus"),
        ("a<it pos='begin'>&lt;i></it> bus", "a bus"),
        ("Elephants<ph type='fnote'>{\\footnote <sub>An <hi>animal</hi>.</sub>}</ph> are big", "Elephants are big"),
        ("a<ut>{}</ut> bus<ph/>", "a bus"),
        ("<ph x='1'> &lt;image> </ph>a bus", "<image>a bus"),
        ("a<ph type='lb'/>bus", "a\nbus"),
        ("a<ph>&lt;br val='1'/></ph> bus", "a bus"),
        ("<![CDATA[<image>]]> a <!-- red --> bus", "<image> a  bus"),
    ],
)
def test_inline_elements_are_read_by_what_they_are(tmp_path: Path, segment: str, text: str) -> None:
    assert [(text, "x")] == _pairs(_written(tmp_path, _one_unit(segment, "x")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_any_unicode_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    declared = f'<?xml version="1.0" encoding="{encoding[:6].upper().removesuffix("-")}"?>'
    path = _written(tmp_path, declared + _one_unit("A bus 😀", "Un autobús 😀"), encoding)
    assert [("A bus 😀", "Un autobús 😀")] == _pairs(path)


def _variants(*languages: str) -> str:
    variants = "".join(f'<tuv xml:lang="{code}"><seg>{code}</seg></tuv>' for code in languages)
    return f'<tmx version="1.4"><header srclang="*all*"/><body><tu>{variants}</tu></body></tmx>'


@pytest.mark.parametrize(
    ("languages", "wanted", "found"),
    [
        (("en-US", "es-ES"), ("en", "es"), [("en-US", "es-ES")]),
        (("ES_mx", "EN"), ("en", "es"), [("EN", "ES_mx")]),
        (("en", "en-GB", "es-MX", "es-ES"), ("en", "es"), [("en", "es-MX"), ("en", "es-ES")]),
        (("en-GB", "en-US", "es"), ("en", "es"), [("en-GB", "es"), ("en-US", "es")]),
        (("en", "pt", "pt-PT"), ("en", "pt-BR"), [("en", "pt")]),
        (("en", "pt-PT", "pt-BR"), ("en", "pt-BR"), [("en", "pt-BR")]),
        (("fr", "en", "de", "es"), ("de", "fr"), [("de", "fr")]),
    ],
)
def test_languages_are_found_by_code_and_region(
    tmp_path: Path, languages: tuple[str, ...], wanted: tuple[str, str], found: list[tuple[str, str]]
) -> None:
    assert found == _pairs(_written(tmp_path, _variants(*languages)), *wanted)


def test_a_file_without_these_languages_says_which_it_has(tmp_path: Path) -> None:
    path = _written(tmp_path, _variants("en", "pt-PT"))
    with pytest.raises(BadTmx, match=r"memory\.tmx has no text in both en and pt-BR\. Languages in it: en, pt-PT\."):
        _pairs(path, "en", "pt-BR")


LAUGHS = "".join(f'<!ENTITY lol{n} "{f"&lol{n - 1};" * 10}">' for n in range(1, 10))
HOSTILE = {
    "bomb": (f'<!DOCTYPE tmx [<!ENTITY lol0 "lol">{LAUGHS}]>', "&lol9;", "lol0"),
    "file": ('<!DOCTYPE tmx [<!ENTITY secret SYSTEM "file:///etc/passwd">]>', "&secret;", "secret"),
    "network": ('<!DOCTYPE tmx [<!ENTITY % far SYSTEM "http://127.0.0.1:9/x.dtd"> %far;]>', "x", "far"),
    "unused": ('<!DOCTYPE tmx [<!ENTITY quiet "x">]>', "x", "quiet"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_entities_are_refused_where_they_are_declared(tmp_path: Path, name: str) -> None:
    opening, text, entity = HOSTILE[name]
    path = _written(tmp_path, opening + _one_unit(text, "x"))
    with pytest.raises(BadTmx, match=f"line 1: it declares the entity '{entity}', and entities are not read"):
        _pairs(path)


def test_an_entity_that_only_an_outer_dtd_could_know_is_not_dropped_in_silence(tmp_path: Path) -> None:
    path = _written(tmp_path, '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n' + _one_unit("a&nbsp;bus", "x"))
    with pytest.raises(BadTmx, match=r"line 2: the entity 'nbsp' is not declared"):
        _pairs(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OMEGAT.replace("</seg>", "", 1), r"line 10: mismatched tag, column \d+\. Export it again, or mend it\."),
        (OMEGAT[:600], r"line \d+: (no element found|unclosed token), column"),
        ("", r"line 1: no element found"),
        (_one_unit("a & b", "x"), r"line 1: not well-formed \(invalid token\)"),
        (_one_unit("a &#1; b", "x"), r"line 1: reference to invalid character number"),
        ("<html></html>", r"line 1: this is no TMX file: it begins with <html>"),
        ('<tmx version="2.0"/>', r"line 1: TMX 2\.0 is not read\. Export it again as TMX 1\.4"),
        ('<?xml version="1.0" encoding="shift_jis"?><tmx/>', r"its encoding cannot be read \(.*\)\. Export it again"),
        ('<?xml version="1.0" encoding="klingon"?><tmx/>', r"its encoding cannot be read \(.*\)\. Export it again"),
    ],
)
def test_a_broken_file_is_named_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadTmx, match=rf"memory\.tmx, {message}" if message.startswith("line") else message):
        _pairs(_written(tmp_path, text))


def test_bytes_that_are_not_in_the_encoding_are_named(tmp_path: Path) -> None:
    path = _written(tmp_path, _one_unit("café", "x"), "latin-1")
    with pytest.raises(BadTmx, match=r"line 1: not well-formed \(invalid token\)"):
        _pairs(path)


def test_a_file_is_read_piece_by_piece(tmp_path: Path) -> None:
    unit = _one_unit("A bus {}.", "Un autobús {}.")
    start, end = unit.index("<tu>"), unit.index("</body>")
    body = "".join(unit[start:end].replace("{}", str(number)) for number in range(3_000))
    entries = read_tmx(_written(tmp_path, unit[:start] + body + "<broken>"), "en", "es")

    assert "A bus 0." == next(entries).source, "the first text is there before the end is looked at"
    with pytest.raises(BadTmx, match=r"no element found"):
        list(entries)
