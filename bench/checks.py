"""What the checks find in the published Spanish LLaVA-Instruct, and which injected faults they see.

    python bench/checks.py PATH [--chunks-between 1] [--show seam]

The lexicon is learnt within each chunk of 500 rows, as in production. Figures: docs/decisions.md, 2026-11-20.
"""

from __future__ import annotations

import argparse
import ast
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.llava.checks import SOFT, Checks
from tasks.llava.lexicon import Lexicon
from tasks.llava.segments import cut, sentences, texts
from tasks.llava.verify import HARD, verify_turn

Row = dict[str, Any]
Pair = tuple[str, str]
THRESHOLDS = (0.3, 0.4, 0.5, 0.6)
COLUMNS = ["conversations", "translated", "translated_raw", "flags", "chunk"]


def read_chunks(path: Path, between: int) -> Iterator[list[Row]]:
    """Every ``between``-th source chunk, one row group in memory at a time."""
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        rows = file.read_row_group(group, columns=COLUMNS).to_pylist()
        for number, chunk in groupby(rows, key=lambda row: row["chunk"]):
            if number % between == 0:
                yield list(chunk)


def pair_turns(rows: list[Row]) -> list[tuple[str, str, int]]:
    """(source, target, flags) of each turn."""
    return [
        (turn["value"], target, flags)
        for row in rows
        for turn, target, flags in zip(row["conversations"], row["translated"], row["flags"], strict=True)
    ]


def pair_sentences(pairs: list[Pair]) -> list[Pair]:
    """Sentences of the turns that have as many on both sides."""
    found: list[Pair] = []
    for source, target in pairs:
        ours, theirs = sentences(source), sentences(target)
        if len(ours) == len(theirs):
            found.extend(zip(ours, theirs, strict=True))
    return found


def read_raw(raw: str) -> str:
    """The value as a literal parser reads it; the damaged text itself where it does not parse."""
    try:
        return str(ast.literal_eval(raw)["value"])
    except (SyntaxError, ValueError, KeyError, TypeError):
        return raw


# Each takes a turn's source and target, another turn's target and a random number generator, and gives the
# damaged target, or None where the turn is no place for that damage.
Fault = Callable[[str, str, str, random.Random], str | None]


def truncate(source: str, target: str, other: str, chance: random.Random) -> str | None:
    """Keep 70 %."""
    return target[: len(target) * 7 // 10] if len(target) >= 40 else None


def drop_sentence(source: str, target: str, other: str, chance: random.Random) -> str | None:
    """Lose one sentence of two or more."""
    parts = sentences(target)
    return target.replace(chance.choice(parts), "", 1).strip() if len(parts) > 1 else None


def leave_sentence(source: str, target: str, other: str, chance: random.Random) -> str | None:
    """Leave one sentence of 25 characters or more in English."""
    ours, theirs = sentences(source), sentences(target)
    places = [place for place, text in enumerate(ours) if len(text) >= 25]
    if len(ours) != len(theirs) or not places:
        return None
    place = chance.choice(places)
    return target.replace(theirs[place], ours[place], 1)


def paraphrase_sentence(source: str, target: str, other: str, chance: random.Random) -> str | None:
    """Answer one sentence in English, but not in the source's words: every sixth word is gone."""
    left = leave_sentence(source, target, other, chance)
    if left is None:
        return None
    text = next(text for text in sentences(left) if text in sentences(source))
    *words, last = text.split()
    return left.replace(text, " ".join([*(word for place, word in enumerate(words, 1) if place % 6), last]))


def change_digit(source: str, target: str, other: str, chance: random.Random) -> str | None:
    """Change one digit."""
    places = [place for place, character in enumerate(target) if character in "0123456789"]
    if not places:
        return None
    place = chance.choice(places)
    return target[:place] + str((int(target[place]) + chance.randint(1, 9)) % 10) + target[place + 1 :]


def shift_by_one(source: str, target: str, other: str, chance: random.Random) -> str | None:
    """The next turn's answer."""
    return other if other != target else None


def rotate_sentences(source: str, target: str, other: str, chance: random.Random) -> str | None:
    """Each sentence has the next one's answer."""
    parts = sentences(target)
    return " ".join(parts[1:] + parts[:1]) if len(parts) > 2 and "\n" not in target else None


def lose_question(source: str, target: str, other: str, chance: random.Random) -> str | None:
    """The question mark at the end is gone."""
    return target.rstrip()[:-1] if target.rstrip().endswith("?") else None


def add_quotes(source: str, target: str, other: str, chance: random.Random) -> str | None:
    """One word is in double quotes."""
    words = target.split(" ")
    place = chance.randrange(len(words))
    return " ".join([*words[:place], f'"{words[place]}"', *words[place + 1 :]])


FAULTS: list[tuple[Fault, str]] = [
    (truncate, "length-short end numbers coverage"),
    (drop_sentence, "length-short coverage numbers"),
    (leave_sentence, "untranslated echo"),
    (paraphrase_sentence, "untranslated echo"),
    (change_digit, "numbers"),
    (shift_by_one, "coverage end length-short length-long"),
    (rotate_sentences, "coverage"),
    (lose_question, "end"),
    (add_quotes, "quotes"),
]


def count_hits(rows: list[Row], checks: Checks, hits: Counter[str], shown: dict[str, list[str]]) -> None:
    """Add up codes per turn and per row, apart for what the data set's own flags call clean."""
    for row in rows:
        codes_of_row = set()
        for turn, target, raw, flags in zip(
            row["conversations"], row["translated"], row["translated_raw"], row["flags"], strict=True
        ):
            source = turn["value"]
            side = "flagged" if flags else "clean"
            findings = checks.findings(source, target)
            codes = {finding.code for finding in findings} | set(verify_turn(source, target))
            hits[f"turns {side}"] += 1
            hits.update(f"{code} {side}" for code in codes)
            codes_of_row |= codes
            hits.update(f"{code} raw" for code in verify_turn(source, read_raw(raw)))
            if not flags:
                for code in codes:
                    detail = "; ".join(finding.detail for finding in findings if finding.code == code)
                    shown.setdefault(code, []).append(f"{detail}\n    {source!r}\n    {target!r}")
        hits["rows"] += 1
        hits["rows with a finding"] += bool(codes_of_row)
        hits.update(f"{code} rows" for code in codes_of_row)


def inject(pairs: list[Pair], checks: Checks, seen: Counter[str]) -> None:
    """Damage each turn in every way and count the codes that it did not have before."""
    chance = random.Random(7)
    for (source, target), (_, other) in zip(pairs, pairs[1:] + pairs[:1], strict=True):
        before = set(checks.grade(source, target))
        for fault, _ in FAULTS:
            damaged = fault(source, target, other, chance)
            if damaged is None:
                continue
            codes = (set(checks.grade(source, damaged)) | set(verify_turn(source, damaged))) - before
            size = "long" if len(source) >= 200 else "short"
            seen[f"{fault.__name__} {size}"] += 1
            seen.update(f"{fault.__name__} {size} {code}" for code in codes)
            seen[f"{fault.__name__} {size} any"] += bool(codes)


def compare_lexicons(name: str, lexicon: Lexicon, pairs: list[Pair], scores: Counter[str]) -> None:
    """Coverage of right, shifted and swapped turns under one lexicon."""
    chance = random.Random(7)
    for place, (source, target) in enumerate(pairs):
        others = {
            "right": target,
            "shifted": pairs[(place + 1) % len(pairs)][1],
            "swapped": pairs[chance.randrange(len(pairs))][1],
        }
        for kind, answer in others.items():
            if kind != "right" and answer == target:
                continue
            coverage = lexicon.coverage(source, answer)
            scores[f"{name} {kind}"] += 1
            scores[f"{name} {kind} scored"] += coverage is not None
            for threshold in THRESHOLDS:
                scores[f"{name} {kind} {threshold}"] += coverage is not None and coverage < threshold


def measure_cpu(pairs: list[Pair], lexicon: Lexicon, rows: int) -> float:
    """Milliseconds of CPU per row: cut, verify and grade."""
    checks = Checks("en", "es", lexicon)
    checks.grade("This sentence loads both detectors.", "This sentence loads both detectors.")
    start = time.process_time()
    for source, target in pairs:
        texts(cut(source, "sentence"))
        verify_turn(source, target)
        checks.grade(source, target)
    return (time.process_time() - start) * 1000 / rows


def percent(part: int, whole: int) -> str:
    """``12 (0.34 %)``."""
    return f"{part:,} ({100 * part / max(whole, 1):.2f} %)"


def main() -> None:
    """Read the file twice and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parquet", type=Path)
    parser.add_argument("--chunks-between", type=int, default=1, help="read every n-th source chunk")
    parser.add_argument("--show", nargs="*", default=[], choices=sorted(SOFT | HARD), help="20 random clean hits")
    options = parser.parse_args()

    hits: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    scores: Counter[str] = Counter()
    shown: dict[str, list[str]] = {}
    cpu: list[float] = []
    learning: list[float] = []
    others = (pair_turns(rows) for rows in read_chunks(options.parquet, 10 * options.chunks_between))
    many = Lexicon.learn(pair for turns in others for pair in pair_sentences([turn[:2] for turn in turns]))
    for place, rows in enumerate(read_chunks(options.parquet, options.chunks_between)):
        turns = pair_turns(rows)
        known = pair_sentences([turn[:2] for turn in turns])
        start = time.process_time()
        lexicon = Lexicon.learn(known)
        learning.append((time.process_time() - start) * 1000 / len(rows))
        count_hits(rows, Checks("en", "es", lexicon), hits, shown)
        if place % 20 == 7:
            clean = [turn[:2] for turn in turns if not turn[2]]
            inject(clean, Checks("en", "es", lexicon), seen)
            cpu.append(measure_cpu([turn[:2] for turn in turns], lexicon, len(rows)))
            compare_lexicons("chunk", lexicon, clean, scores)
            compare_lexicons("many", many, clean, scores)
            wrong = [(source, target) for (source, _), (_, target) in pairwise(known)]
            all_wrong = Lexicon.learn(wrong)
            low = [all_wrong.coverage(*pair) for pair in wrong]
            scores["all wrong"] += len(wrong)
            scores["all wrong 0.4"] += sum(coverage is not None and coverage < 0.4 for coverage in low)
    print_hits(hits)
    print_recall(seen)
    print_lexicons(scores, many.pairs)
    print(f"\nCPU ms per row: cut, verify and grade {spread(cpu)}; learning {spread(learning)}")
    for code in options.show:
        found = shown.get(code, [])
        print(f"\n{code}:\n" + "\n\n".join(random.Random(7).sample(found, min(20, len(found)))))


def spread(values: list[float]) -> str:
    """``0.40 to 1.36, mean 0.87``."""
    return f"{min(values):.2f} to {max(values):.2f}, mean {sum(values) / len(values):.2f}"


def print_hits(hits: Counter[str]) -> None:
    """Hits on the data as published."""
    clean, flagged, rows = hits["turns clean"], hits["turns flagged"], hits["rows"]
    print(f"{rows:,} rows, {clean:,} turns without a flag, {flagged:,} with")
    print(f"{'code':14}{'clean turns':>20}{'flagged turns':>20}{'rows':>20}{'raw turns':>20}")
    for code in sorted(HARD) + sorted(SOFT):
        cells = [percent(hits[f"{code} clean"], clean), percent(hits[f"{code} flagged"], flagged)]
        cells.append(percent(hits[f"{code} rows"], rows))
        cells.append(percent(hits[f"{code} raw"], clean + flagged) if code in HARD else "")
        print(f"{code:14}" + "".join(f"{cell:>20}" for cell in cells))
    print(f"rows with a finding: {percent(hits['rows with a finding'], rows)}")


def print_recall(seen: Counter[str]) -> None:
    """What is seen of the injected faults, in percent."""
    for size, bound in (("short", "under"), ("long", "from")):
        print(f"\nInjected into {size} turns (source {bound} 200 characters): seen, in %")
        for fault, codes in FAULTS:
            name = f"{fault.__name__} {size}"
            shares = [(code, 100 * seen[f"{name} {code}"] / max(seen[name], 1)) for code in ["any", *codes.split()]]
            print(f"{fault.__name__:20}{seen[name]:>8,}  " + ", ".join(f"{code} {share:.1f}" for code, share in shares))


def print_lexicons(scores: Counter[str], pairs: int) -> None:
    """The chunk's own lexicon against one of many pairs from other chunks."""
    print(f"\nShare of turns with a coverage below .3 .4 .5 .6; many is {pairs:,} pairs from other chunks")
    for name in ("chunk", "many"):
        for kind in ("right", "shifted", "swapped"):
            whole = max(scores[f"{name} {kind}"], 1)
            shares = [f"{scores[f'{name} {kind} {threshold}'] / whole:.4f}" for threshold in THRESHOLDS]
            scored = scores[f"{name} {kind} scored"] / whole
            print(f"{name:8}{kind:10}{whole:>8,}  scored {scored:.3f}  {' '.join(shares)}")
    share = scores["all wrong 0.4"] / max(scores["all wrong"], 1)
    print(f"learnt from a chunk in which every sentence is shifted: {share:.2f} of them below .4")


if __name__ == "__main__":
    main()
