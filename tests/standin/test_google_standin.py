from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from googletrans import Translator

from tests.standin import GoogleStandIn
from tests.standin.recorded import (
    OWN_PAIRS,
    REAL_ROWS,
    Recorded,
    cut,
    load,
    pairs_from_parquet,
    rows_from_parquet,
    share_out,
    turns_from_jsonl,
    turns_from_parquet,
)
from tests.standin.server import Bucket

pytest_plugins = ["tests.standin.fixture"]

DOG, SOUP = "The dog waits at the door with a lead in its mouth.", "The soup is still steaming."
PERRO, SOPA = "El perro espera en la puerta con la correa en la boca.", "La sopa todavía humea."
ASK = {"client": "dict-chrome-ex", "sl": "en", "tl": "es", "dt": "t"}
real_rows = pytest.mark.skipif(not REAL_ROWS.exists(), reason="the recorded rows are not on this machine")


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return load(turns_from_jsonl(OWN_PAIRS))


@pytest.fixture
def http(google_standin: GoogleStandIn) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=google_standin.url, timeout=60, trust_env=False) as client:
        yield client


def ask(http: httpx.Client, q: str, **more: str) -> httpx.Response:
    return http.get("/translate_a/single", params={**ASK, **more, "q": q})


def translated(http: httpx.Client, q: str) -> str:
    return "".join(segment[0] for segment in ask(http, q).json()[0])


# What is answered


def test_a_recorded_text_gets_its_translation_sentence_by_sentence(recorded: Recorded) -> None:
    text = f"{SOUP} {DOG}\n\n{SOUP}"
    answer = recorded.answer(text)
    assert [f"{SOUP} ", f"{DOG}\n\n", SOUP] == [segment.orig for segment in answer]
    assert [f"{SOPA} ", f"{PERRO}\n\n", SOPA] == [segment.trans for segment in answer]
    assert all(segment.known for segment in answer)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        "\n\na\n \nb",
        "  Two cats. ",
        "a\r\nb\x85c\u2028d",
        "Mr. X went. Home?!",
        "1. 2. 3.",
        "…",
        "¿",
    ],
)
def test_the_source_comes_back_verbatim(recorded: Recorded, text: str) -> None:
    assert text == "".join(segment.orig for segment in recorded.answer(text))


def test_an_unknown_text_is_made_up_and_keeps_numbers_quotes_and_marks(recorded: Recorded) -> None:
    (segment,) = recorded.answer('Is the zorp at 8:30 on "Main Street" worth 4,50?')
    assert segment.trans == '¿Es el zorpo en 8:30 sobre "Maino Calle" wortho 4,50?'
    assert not segment.known


@pytest.mark.parametrize("text", ["No.", "Ok", "A", "Zzz!", "日本", "<image>", "it's", "NASA"])
def test_what_has_a_letter_never_comes_back_as_it_was(text: str) -> None:
    (segment,) = Recorded().answer(text)
    assert text != segment.trans
    assert segment.trans.strip()


@pytest.mark.parametrize("text", ["12:30", "`a b`", "https://a.b/c", "- 4 %"])
def test_numbers_code_and_addresses_come_back_as_they_were(recorded: Recorded, text: str) -> None:
    assert text == recorded.answer(text)[0].trans


def test_list_markers_labels_and_other_cuts_are_found_too(recorded: Recorded) -> None:
    for known in (
        "Knead:",
        "Work the dough for ten minutes.",
        "2. **Rest:** Cover it and wait one hour.",
        "Mr.",
    ):
        assert all(segment.known for segment in recorded.answer(known)), known


def test_a_translation_with_other_sentences_is_shared_out_whole() -> None:
    english = ["A long first sentence about a boat.", "Short.", "And one more that ends it."]
    spanish = "Una primera frase larga sobre un barco, corta, y otra más que la termina."
    shares = share_out(english, spanish)
    assert shares is not None
    assert all(shares)
    assert spanish == " ".join(shares)
    assert share_out(english, "Dos palabras.") is None


def test_a_line_keeps_its_own_translation_where_its_sentences_have_others() -> None:
    recorded = load([("Yes. He runs.", "Sí. Corre.", True), ("Yes. He sits.", "Así es. Se sienta.", True)])
    assert "".join(part.trans for part in recorded.answer("Yes. He sits.")) == "Así es. Se sienta."
    assert recorded.answer("Yes.")[0].trans == "Sí."


def test_a_damaged_recording_answers_only_what_no_other_does() -> None:
    turns = [
        ("He runs.", "Corre. y", False),
        ("He runs.", "Corre.", True),
        ("She sits.", "Se \\sienta.", False),
    ]
    recorded = load(turns)
    assert [recorded.answer(text)[0].trans for text, _, _ in turns[1:]] == ["Corre.", "Se \\sienta."]


def test_light_keeps_words_only() -> None:
    recorded = load(turns_from_jsonl(OWN_PAIRS), light=True)
    assert len(recorded) == 0
    assert recorded.answer("The old zorp.")[0].trans == "El anciano zorpo."


@real_rows
def test_real_rows_are_answered_as_recorded_however_they_are_cut() -> None:
    recorded = load(turns_from_parquet(REAL_ROWS, 200))
    lines = [line for line, _ in pairs_from_parquet(REAL_ROWS, 200)]
    segments = [segment for line in lines for segment in recorded.answer(line)]
    assert sum(not segment.known for segment in segments) == 0
    exact = sum(
        translation == "".join(segment.trans for segment in recorded.answer(line))
        for line, translation in pairs_from_parquet(REAL_ROWS, 200)
    )
    assert exact > 0.99 * len(lines)


@real_rows
def test_rows_are_the_first_ones_or_spread() -> None:
    assert [row["row"] for row in rows_from_parquet(REAL_ROWS, 3)] == [0, 1, 2]
    spread = [row["row"] for row in rows_from_parquet(REAL_ROWS, 3, spread=True)]
    assert spread == sorted(set(spread))
    assert spread[-1] > 60_000


# The wire


def through_googletrans(standin: GoogleStandIn, text: str, **more: Any) -> Any:
    from tests.standin.fixture import ToStandIn  # not before pytest has loaded the plugin

    async def run() -> Any:
        translator = Translator(service_urls=["translate.googleapis.com"], raise_exception=True)
        async with httpx.AsyncClient(transport=ToStandIn(standin), timeout=2) as client:
            translator.client = client
            return await translator.translate(text, src="en", dest="es", **more)

    return asyncio.run(run())


def test_googletrans_reads_the_answer(google_standin: GoogleStandIn) -> None:
    answer = through_googletrans(google_standin, f"{DOG}\n{SOUP}", client="dict-chrome-ex", dt="t")
    assert f"{PERRO}\n{SOPA}" == answer.text
    assert [f"{DOG}\n", SOUP] == [segment[1] for segment in answer.extra_data["translation"]]
    assert answer.src == "en"


def test_googletrans_reads_the_answer_with_its_own_parameters(google_standin: GoogleStandIn) -> None:
    assert through_googletrans(google_standin, SOUP).text == SOPA
    assert google_standin.stats()["clients"] == {"gtx": {"requests": 1, "answered": 1}}


def test_single_has_the_shape_of_the_service(http: httpx.Client) -> None:
    response = ask(http, f"{SOUP}\nThe zorp.")
    assert response.headers["content-type"] == "application/json; charset=UTF-8"
    assert [
        [[f"{SOPA}\n", f"{SOUP}\n", None, None, 10], ["El zorpo.", "The zorp.", None, None, 3]],
        *[None, "en", None, None, None, 1, []],
    ] == response.json()
    assert response.json() == http.post("/translate_a/single", data={**ASK, "q": f"{SOUP}\nThe zorp."}).json()


def test_single_with_other_parameters(http: httpx.Client) -> None:
    as_objects = ask(http, SOUP, dj="1").json()
    assert as_objects["sentences"][0] == {"trans": SOPA, "orig": SOUP, "backend": 10}
    assert ask(http, SOUP, dt="at").json()[0] is None
    assert ask(http, "").json()[0] is None
    many = http.get("/translate_a/single", params={**ASK, "dt": ["t", "rm", "ld"], "q": SOUP}).json()
    assert many[0][-1][:2] == [None, None]
    assert many[-1] == [["en"], None, [1], ["en"]]
    assert http.get("/translate_a/single", params=ASK).status_code == 400


@pytest.mark.parametrize("q", [f"{SOUP} Ñandú & 50 % + 1 = “dos”\n;#?", "a%20b%0Ac%", "日本 😀"])
def test_every_character_survives_get_and_post(http: httpx.Client, q: str) -> None:
    for response in (ask(http, q), http.post("/translate_a/single", data={**ASK, "q": q})):
        assert q == "".join(segment[1] for segment in response.json()[0])


def test_t_answers_each_q_in_its_place(http: httpx.Client) -> None:
    form = {"q": [DOG, f"{SOUP}\n{SOUP}", DOG]}
    assert [PERRO, f"{SOPA}\n{SOPA}", PERRO] == http.post("/translate_a/t", params=ASK, data=form).json()
    assert http.get("/translate_a/t", params={**ASK, "q": [DOG, SOUP]}).json() == [PERRO, SOPA]
    assert http.get("/translate_a/t", params={**ASK, "sl": "auto", "q": SOUP}).json() == [[SOPA, "en"]]


def test_everything_says_that_it_is_a_recording(http: httpx.Client) -> None:
    for path, status in (("/", 200), ("/translate_a/single?q=a&tl=es", 200), ("/m", 404), ("/__stats", 200)):
        response = http.get(path)
        assert status == response.status_code
        assert response.headers["x-recording"] == "trasvase stand-in"


# Faults


@pytest.mark.parametrize(
    ("switches", "status", "kind", "fault"),
    [
        ({"p429": 1}, 429, "text/plain", "429"),
        ({"p429_html": 1}, 429, "text/html", "429_html"),
        ({"p503": 1}, 503, "text/html", "503"),
        ({"p_html": 1, "html_bytes": 9_000}, 200, "text/html", "html"),
        ({"block_clients": "gtx,dict-chrome-ex"}, 429, "text/html", "blocked"),
        ({"refuse": "soup"}, 400, "text/html", "refuse"),
        ({"max_q": 10}, 400, "text/html", "max_q"),
        ({"max_url": 50}, 414, "text/html", "max_url"),
    ],
)
def test_refusals(
    google_standin: GoogleStandIn,
    http: httpx.Client,
    switches: dict[str, Any],
    status: int,
    kind: str,
    fault: str,
) -> None:
    google_standin.switch(**switches)
    response = ask(http, SOUP)
    assert status == response.status_code
    assert response.headers["content-type"].startswith(kind)
    stats = google_standin.stats()
    assert {fault: 1} == stats["faults"]
    assert {str(status): 1} == stats["status"]
    assert stats["answered"] == 0


def test_retry_after_is_sent_where_it_is_set(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    google_standin.switch(p429=1, retry_after=7)
    assert ask(http, SOUP).headers["retry-after"] == "7"
    google_standin.switch(retry_after=None)
    assert "retry-after" not in ask(http, SOUP).headers


def test_too_much_posted_is_413(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    assert http.post("/translate_a/single", data={**ASK, "q": "a " * 2_501}).status_code == 413


def test_a_burst_refuses_the_next_ones_too(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    google_standin.switch(p429=1, burst=3)
    assert ask(http, SOUP).status_code == 429
    google_standin.switch(p429=0)
    assert [ask(http, SOUP).status_code for _ in range(3)] == [429, 429, 200]


def test_a_reset_breaks_the_connection(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    google_standin.switch(p_reset=1)
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        ask(http, DOG * 50)
    google_standin.switch(p_reset=0)
    assert translated(http, DOG) == PERRO
    assert google_standin.stats()["faults"] == {"reset": 1}


def test_a_truncated_answer_comes_in_both_ways(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    google_standin.switch(p_trunc=1)
    seen = set()
    for attempt in range(20):
        try:
            ask(http, f"{DOG} {attempt}").json()
        except httpx.RemoteProtocolError:
            seen.add("short of its Content-Length")
        except json.JSONDecodeError:
            seen.add("half the JSON")
    assert {"short of its Content-Length", "half the JSON"} == seen
    assert google_standin.stats()["answered"] == 0


def test_a_hanging_request_never_answers(google_standin: GoogleStandIn) -> None:
    google_standin.switch(p_hang=1)
    with httpx.Client(base_url=google_standin.url, timeout=0.2) as client, pytest.raises(httpx.ReadTimeout):
        ask(client, DOG)
    stats = left_alone(google_standin)
    assert (stats["requests"], stats["answered"], stats["faults"]) == (1, 0, {"hang": 1})


def left_alone(standin: GoogleStandIn) -> dict[str, Any]:
    """Its counts when it has seen that the clients are gone."""
    until = time.monotonic() + 60
    while (stats := standin.stats())["in_flight"] or not stats["requests"]:
        assert time.monotonic() < until, "a client that is gone is still being answered"
    return stats


def test_a_bucket_lets_so_many_through_and_fills_again() -> None:
    bucket, now = Bucket(), time.monotonic()
    assert [True, True, True, False] == [bucket.take(2, 3, now) for _ in range(4)]
    assert [True, False] == [bucket.take(2, 3, now + 0.5) for _ in range(2)]
    assert [True, True, True, False] == [bucket.take(2, 3, now + 60) for _ in range(4)]


def test_what_the_bucket_does_not_let_through_is_429(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    google_standin.switch(rps=1, rps_burst=3)
    began = time.monotonic()
    status = [ask(http, SOUP).status_code for _ in range(40)]
    allowed = 3 + (time.monotonic() - began) + 1
    assert status[:3] == [200, 200, 200]
    assert 3 <= status.count(200) <= allowed
    assert status.count(429) == google_standin.stats()["faults"]["rps"]


def test_an_echo_is_the_source(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    google_standin.switch(p_echo=1)
    assert f"{DOG}\n{SOUP}" == translated(http, f"{DOG}\n{SOUP}")


def test_a_merge_loses_a_line_of_the_translation_only(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    google_standin.switch(p_merge=1)
    assert [[f"{PERRO} {SOPA}", f"{DOG}\n{SOUP}", None, None, 10]] == ask(http, f"{DOG}\n{SOUP}").json()[0]
    assert [f"{PERRO} {SOPA}"] == http.post("/translate_a/t", params=ASK, data={"q": [DOG, SOUP]}).json()


def test_a_line_break_more_or_less(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    google_standin.switch(p_newline=1)
    source = "\n".join([SOUP] * 4)
    breaks = {translated(http, source).count("\n") for _ in range(20)}
    assert {2, 4} == breaks
    assert google_standin.stats()["faults"]["newline"] == 20


@pytest.mark.parametrize(("kind", "answer"), [("empty", "\n"), ("echo", f"{SOUP}\n"), ("control", f"L\a{SOPA[1:]}\n")])
def test_garbage_comes_every_time_and_spares_the_rest(
    google_standin: GoogleStandIn, http: httpx.Client, kind: str, answer: str
) -> None:
    google_standin.switch(garbage="soup", garbage_kind=kind)
    for _ in range(2):
        assert f"{answer}{PERRO}" == translated(http, f"{SOUP}\n{DOG}")
    assert google_standin.asked() == {SOUP: 0, DOG: 2}


def test_latency_is_kept(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    google_standin.switch(latency_ms=80, jitter_ms=20)
    began = time.monotonic()
    ask(http, SOUP)
    assert time.monotonic() - began >= 0.06
    assert google_standin.log()[0]["ms"] >= 60


def test_faults_are_the_same_for_whoever_asks(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    texts = [f"{SOUP} {number}" for number in range(60)]
    seen = []
    for order, seed in ((1, 0), (-1, 0), (1, 1)):
        google_standin.reset()
        google_standin.switch(p429=0.2, p_html=0.2, seed=seed)
        draws: dict[str, list[tuple[int, str]]] = {}
        for text in [text for text in texts[::order] for _ in range(2)]:
            response = ask(http, text)
            draws.setdefault(text, []).append((response.status_code, response.headers["content-type"]))
        seen.append(draws)
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]
    assert any(first != second for first, second in seen[0].values())
    hit = sum(status == 429 for draws in seen[0].values() for status, _ in draws)
    assert 0.08 < hit / 120 < 0.35


# Counting


def test_what_was_paid_for_is_counted_line_by_line(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    ask(http, f"{DOG}\n{SOUP}\n\nThe zorp sings.")
    google_standin.switch(p503=1)
    ask(http, "Refused.")
    google_standin.switch(p503=0)
    http.post("/translate_a/t", params=ASK, data={"q": [SOUP, "Refused."]})
    stats = google_standin.stats()
    assert tuple(stats[name] for name in ("requests", "answered", "distinct", "paid_again")) == (3, 2, 4, 1)
    assert google_standin.asked() == {DOG: 1, SOUP: 2, "The zorp sings.": 1, "Refused.": 1}
    assert stats["clients"] == {"dict-chrome-ex": {"requests": 3, "answered": 2}}
    assert (stats["misses"], stats["segments"]) == (2, 5)
    assert len(f"{DOG}\n{SOUP}\n\nThe zorp sings.Refused.{SOUP}Refused.") == stats["characters"]
    assert [entry["fault"] for entry in google_standin.log()] == ["", "503", ""]


def test_requests_in_flight_are_counted(google_standin: GoogleStandIn) -> None:
    google_standin.switch(p_hang=1)

    async def run() -> None:
        async with httpx.AsyncClient(base_url=google_standin.url, timeout=60) as client:
            questions = ({**ASK, "q": f"{SOUP} {n}"} for n in range(5))
            asked = [asyncio.create_task(client.get("/translate_a/single", params=each)) for each in questions]
            async with asyncio.timeout(60):
                while (await client.get("/__stats")).json()["in_flight"] < 5:
                    pass
            for each in asked:
                each.cancel()

    asyncio.run(run())
    assert 5 == left_alone(google_standin)["max_in_flight"]


def test_reset_forgets_and_sets_the_switches_back(google_standin: GoogleStandIn, http: httpx.Client) -> None:
    google_standin.switch(p429=1)
    ask(http, SOUP)
    google_standin.reset()
    assert ask(http, SOUP).status_code == 200
    assert google_standin.stats()["requests"] == 1


def test_what_was_asked_before_a_reset_is_counted_nowhere(google_standin: GoogleStandIn) -> None:
    google_standin.switch(latency_ms=2_000)

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(base_url=google_standin.url, timeout=60) as client:
            asked = asyncio.create_task(client.get("/translate_a/single", params={**ASK, "q": SOUP}))
            while not (await client.get("/__stats")).json()["in_flight"]:
                assert not asked.done(), "it was answered before anybody looked"
            await client.post("/__reset")
            return await asked

    assert asyncio.run(run()).status_code == 503
    assert (google_standin.stats()["requests"], google_standin.asked(), google_standin.log()) == (0, {}, [])


def test_a_wrong_switch_is_named_and_changes_nothing(google_standin: GoogleStandIn) -> None:
    for wrong, message in (
        ({"p429": 2}, "between"),
        ({"p492": 1}, "no switch named 'p492'"),
        ({"rps": "x"}, "float"),
    ):
        with pytest.raises(ValueError, match=message):
            google_standin.switch(latency_ms=9, **wrong)
    assert google_standin.switch()["latency_ms"] == 0


# The process


def test_it_starts_with_its_switches_and_leaves_with_its_parent() -> None:
    script = (
        "import os; from tests.standin import GoogleStandIn; s = GoogleStandIn(seed=5, retry_after=3)\n"
        "s.start(); print(s.switch()['seed'], s.switch()['retry_after'], flush=True); os._exit(9)"
    )
    root = Path(__file__).parents[2]
    # The stand-in holds our end of stderr: run() comes back only when it has ended too.
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, timeout=120)
    assert done.stdout.split() == [b"5", b"3"]
    assert done.returncode == 9


def test_a_start_that_fails_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="left with 2"):
        GoogleStandIn(p492=1).start()
    assert "no switch named 'p492'" in capfd.readouterr().err


def test_the_committed_pairs_are_whole_and_differ() -> None:
    pairs = list(turns_from_jsonl(OWN_PAIRS))
    assert len(pairs) == len({english for english, _, _ in pairs}) >= 300
    for english, spanish, _ in pairs:
        assert english != spanish
        assert english.count("\n") == spanish.count("\n")
        assert len(cut(english)) == len(cut(spanish)), english
