r"""Write llava_sample.json: 1,212 rows in LLaVA's format about pictures that do not exist.

    python data/samples/make_llava_sample.py

Scenes come from scenes.toml, sentences from templates.toml; both were invented for Trasvase. The same numbers
are drawn each time, so the file comes out byte for byte the same. One row::

    {"id": "700000000037", "image": "700000000037.jpg", "conversations": [
        {"from": "human", "value": "<image>\nWhat is the vendor doing?"},
        {"from": "gpt", "value": "The vendor is weighing tomatoes for an old lady."}]}
"""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).parent
ROWS = 1_212
SCENES = tomllib.loads((HERE / "scenes.toml").read_text(encoding="utf-8"))["scene"]
WORDS, TEMPLATES = tomllib.loads((HERE / "templates.toml").read_text(encoding="utf-8")).values()

Item = TypeVar("Item")


class Draw(random.Random):
    """Draws that no new version of Python changes: they rest on ``random()`` alone."""

    def below(self, stop: int) -> int:
        return int(self.random() * stop)

    def one(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]

    def mix(self, items: Sequence[Item]) -> list[Item]:
        return sorted(items, key=lambda _: self.random())


def picture(scene: dict[str, Any], draw: Draw) -> dict[str, str]:
    """Decide everything about one picture, so that all rows about it agree."""
    fact = {key: draw.one(value.split("|")) for key, value in scene.items() if isinstance(value, str)}
    fact |= {key: draw.one(WORDS[key]) for key in ("absent", "side", "near", "decade")}
    fact["mood"] = draw.one(WORDS["moods"])
    woman = fact["who"] in WORDS["women"] or (fact["who"] not in WORDS["men"] and draw.below(2) == 0)
    fact["they"], fact["them"] = ("she", "her") if woman else ("he", "him")
    fact["color"], fact["color2"], fact["color3"] = draw.mix(WORDS["colors"])[:3]
    if not {*WORDS["colors"], *WORDS["colorless"]} & set(fact["garment"].split()):
        fact["cloth"], fact["garment"] = fact["garment"], f"{fact['color']} {fact['garment']}"
    fact["garment"] = "a " + fact["garment"]
    fact["whom"] = draw.one([fact["who"], f"{fact['who']} in {fact['garment']}"])
    few = draw.below(4)
    fact["few"], fact["count"] = WORDS["number"][few], draw.one(WORDS["number"][few + 2 :])
    fact |= {unit: str(2 + draw.below(most)) for unit, most in [("meters", 9), ("minutes", 25), ("percent", 60)]}
    if not scene.get("indoors"):
        fact["degrees"] = str(draw.below(20) + (-18 if "weather" in scene else 14))
        fact.setdefault("weather", draw.one(WORDS["weather"]))
    hour, part = draw.one(WORDS["hour"])
    fact["time"] = f"{hour}:{draw.one(WORDS['minute'])} in the {part}"
    for n, thing in enumerate(draw.mix(scene["things"])):
        noun, fact[f"at{n}"] = thing.split(" @ ")
        fact[f"a{n}"], fact[f"the{n}"] = noun, f"the {re.sub('^an? ', '', noun)}"
        fact[f"is{n}"], fact[f"it{n}"] = ("is", "it") if re.match("an? |smoke", noun) else ("are", "they")
    for no, risk in zip(["", "2"], draw.mix(scene["risks"]), strict=True):
        fact |= zip((f"hazard{no}", f"consequence{no}", f"remedy{no}"), risk.split(" => "), strict=True)
    fact |= zip(("seen", "reason1", "reason2"), draw.one(scene["causes"]).split(" => "), strict=True)
    fact |= zip(("condition", "result"), draw.one(scene["effects"]).split(" => "), strict=True)
    fact |= {f"need{n}": need for n, need in enumerate(draw.mix(scene["needs"]))}
    return fact | {f"tip{n}": tip for n, tip in enumerate(draw.mix(scene["tips"]))}


def known(template: str, fact: dict[str, str]) -> bool:
    """Whether the picture has all that the template mentions."""
    return set(re.findall(r"{(\w+)}", template)) <= fact.keys()


def write(template: str, fact: dict[str, str], draw: Draw) -> str:
    """Choose, fill in, write "an" where it is due, and begin each sentence and list item with a capital."""

    def choose(found: re.Match[str]) -> str:
        return draw.one([choice for choice in found[1].split("|") if known(choice, fact)])

    while "[" in template:
        template = re.sub(r"\[([^\[\]]*)\]", choose, template)
    text = re.sub(r"\ba (?=[aeio])", "an ", template.format(**fact))
    return re.sub(r"(?m)(^(?:- |\d\. |\")?|[.!?] +)([a-z])", lambda found: found[1] + found[2].upper(), text)


def talk(fact: dict[str, str], draw: Draw) -> list[str]:
    """Two to five questions, each with its answer."""
    pairs = [pair for pair in TEMPLATES["talk"] if known(re.sub(r"\[.*?\]", "", "".join(pair)), fact)]
    pairs = draw.mix(pairs)[: draw.one([2, 3, 3, 4, 4, 5])]
    return [write(template, fact, draw) for pair in pairs for template in pair]


def describe(fact: dict[str, str], draw: Draw) -> list[str]:
    """A request and a detailed description."""
    first, second, *others, last = TEMPLATES["description"]
    middle = draw.mix(others)[: draw.one([3, 4, 5])]
    template = " ".join([first, second, *middle]) + draw.one([" ", " ", "\n\n"]) + last
    return [write(draw.one(TEMPLATES["describe"]), fact, draw), write(template, fact, draw)]


def reason(fact: dict[str, str], draw: Draw) -> list[str]:
    """A question that takes some thought, and a long answer."""
    chosen = draw.one([entry for entry in TEMPLATES["reason"] for _ in range(entry["weight"])])
    return [write(chosen["question"], fact, draw), write(chosen["answer"], fact, draw)]


def rows() -> list[dict[str, Any]]:
    """All rows: one to three about each picture, in mixed order."""
    draw, image = Draw(2026), 0
    made: list[dict[str, Any]] = []
    while len(made) < ROWS:
        image += 1
        fact = picture(draw.one(SCENES), draw)
        name = f"{700_000_000 + 37 * image:012d}"  # far beyond the ids of COCO's pictures
        for _ in range(draw.one([1, 1, 1, 2, 2, 3])):
            turns = draw.one([talk] * 3 + [describe] + [reason] * 4)(fact, draw)
            turns[0] = draw.one([f"<image>\n{turns[0]}", f"{turns[0]}\n<image>"])
            said = [{"from": ("human", "gpt")[n % 2], "value": value} for n, value in enumerate(turns)]
            made.append({"id": name, "image": f"{name}.jpg", "conversations": said})
    return draw.mix(made[:ROWS])


def sample() -> str:
    """The file: a JSON array with one row per line."""
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows()) + "\n]\n"


if __name__ == "__main__":
    (HERE / "llava_sample.json").write_text(sample(), encoding="utf-8", newline="\n")
