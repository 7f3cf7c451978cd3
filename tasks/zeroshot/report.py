"""A VLM against CLIP on memes, for people and for programs.

::

    reports/classify-memes/report.html    the comparison, then meme by meme: picture, heat maps, scores, explanation
                           report.json    the same figures

Equal tables give equal bytes. Pictures are made anew from pixels: nothing of a file but what it shows gets into the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.pages.page import Card, Cell, Page, Section, Table
from tasks.pages.rejected import REJECTED_SHOWN, rejected_section
from tasks.pages.words import carried, markdown_table
from tasks.pictures import decode
from tasks.pictures.decode import BadImage, open_picture, read_unchanged
from tasks.storage.files import write_bytes
from tasks.storage.schemas import MEMES_CLASSIFIED, MEMES_UNCLASSIFIED
from tasks.storage.tables import read_batches, read_rows
from tasks.zeroshot import catalog
from tasks.zeroshot.collect import Tables
from tasks.zeroshot.compare import Method, baselines, compare
from tasks.zeroshot.crop import Box
from tasks.zeroshot.overlay import data_uri, heat_over, small_copy
from tasks.zeroshot.plan import CLIP, VLM

# Why an image is not classified, for every code that a table may hold.
REJECTIONS = {**catalog.REASONS, **decode.REASONS}

Floats = NDArray[np.float64]

_AT_ONCE = 500  # rows of a table
_COUNTED = ["sha256", "text", "vlm_valid", "words", "words_used"]
_COLUMNS = {"VLM": "vlm", "CLIP": "clip", "CLIP with text": "clip_text"}
_HOW_TO_READ = (
    "The heat maps are weak evidence. EigenCAM shows what varies most over the patches before CLIP's last layer, whatever "
    "was asked; its sign, which is arbitrary, is turned so that without its hot patches the chosen class loses more. "
    "GradCAM shows what would raise the odds of that class at first order. Both are of CLIP without the text, say nothing "
    "about the VLM, and a hot place is no reason.\n\n"
    "CLIP's processor cuts a square out of the middle. What is grey and hatched was not seen."
)
_TOY = (
    "These models are tiny, random or trained for seconds, and exist so that the flow can be tried. No figure on this page "
    "says anything about memes or about any real model."
)


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and the short form."""

    folder: Path
    html: Path
    json: Path
    markdown: str


def write_report(folder: Path, tables: Tables, shown: int) -> Report:
    """Write the report of tables that are there.

    Args:
        folder: Where to.
        tables: What collecting left.
        shown: Memes on the page at most.

    Raises:
        TornFile: A table is damaged.
        DiskFull: No room; the old report is untouched.
    """
    made = json.loads(tables.provenance.read_bytes())
    labels = made["jobs"][CLIP]["parameters"]["labels"]
    answers = read_answers(tables.table, labels)
    rejected = next(read_batches(tables.rejected, MEMES_UNCLASSIFIED, REJECTED_SHOWN), None)
    refused = rejected.to_pylist() if rejected else []
    figures = _figures(tables, answers, made, labels)
    images = Path(made["jobs"][CLIP]["source"]["path"])
    rows = read_rows(tables.table, MEMES_CLASSIFIED, worst_first(answers)[:shown])
    figures["shown"] = [row["path"] for row in rows]
    cards = [_card(row, labels, images) for row in rows]
    text = json.dumps(figures, indent=2, ensure_ascii=False)
    written = write_bytes(folder / "report.json", text.encode())
    html = write_bytes(folder / "report.html", _page(figures, cards, refused).html().encode())
    return Report(folder, html, written, _markdown(figures, html))


def read_answers(table: Path, labels: Sequence[str]) -> pa.Table:
    """What figures need of each row, in a few bytes: the text, the probabilities and what cards alone show are left out.

    Returns:
        ``label`` and the methods' answers as numbers of classes, null where there is no label; ``sha256``; ``has_text``;
        ``vlm_valid``; ``left_out``, how many words CLIP could not take; ``disagreement``.
    """
    classes, pieces = pa.array(labels, pa.string()), []
    answered = ["label", *(f"{column}_answer" for column in _COLUMNS.values())]
    columns = [*_COUNTED, *answered, *(f"{column}_probabilities" for column in _COLUMNS.values())]
    nothing = pa.RecordBatch.from_pylist([], MEMES_CLASSIFIED.columns)
    for some in chain([nothing], read_batches(table, MEMES_CLASSIFIED, _AT_ONCE, columns)):
        numbers = {name: pc.index_in(some[name], classes) for name in answered}
        kept = {
            "sha256": some["sha256"],
            "has_text": pc.not_equal(some["text"], ""),
            "vlm_valid": some["vlm_valid"],
            "left_out": pc.subtract(some["words"], some["words_used"]),
            "disagreement": disagreement(some, labels),
        }
        pieces.append(pa.table({**numbers, **kept}))
    return pa.concat_tables(pieces)


def worst_first(answers: pa.Table) -> list[int]:
    """Positions of rows, those first over which methods and gold label disagree most."""
    order: list[int] = np.argsort(-answers["disagreement"].to_numpy(), kind="stable").tolist()
    return order


def disagreement(rows: pa.RecordBatch, labels: Sequence[str]) -> Floats:
    """Of each row, from 0 to 1: how much methods and gold label disagree.

    It is the mean over all pairs of gold label and methods of the total variation between their probabilities: 0 where
    all are sure of one class, and most where two that are sure stand against two.
    """
    size = len(labels)
    said = [rows[f"{name}_probabilities"].flatten().to_numpy().reshape(-1, size) for name in _COLUMNS.values()]
    gold = pc.fill_null(pc.index_in(rows["label"], pa.array(labels)), -1).to_numpy()

    def mean(among: Sequence[Floats]) -> Floats:
        apart = [np.abs(one - other).sum(axis=1) / 2 for one, other in combinations(among, 2)]
        return np.stack(apart, axis=1).mean(axis=1)  # type: ignore[no-any-return]

    return np.where(gold < 0, mean(said), mean([*said, gold[:, None] == np.arange(size)]))


def _figures(tables: Tables, answers: pa.Table, made: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    scored = answers.filter(pc.is_valid(answers["label"]))
    has_text, left_out, valid = (answers[name].to_numpy() for name in ("has_text", "left_out", "vlm_valid"))
    jobs = made["jobs"]
    figures: dict[str, Any] = {
        "source": made["source"],
        "jobs": jobs,
        "toy": any("toy" in job["versions"] for job in jobs.values()),
        "labels": list(labels),
        "rows": tables.rows,
        "classified": tables.classified,
        "unlabelled": len(answers) - len(scored),
        "rejected": tables.reasons.total(),
        "rejected_by_reason": {
            code: {"images": n, "reason": REJECTIONS.get(code, code)} for code, n in tables.reasons.most_common()
        },
        "with_text": int(has_text.sum()),
        "text_cut": int((left_out > 0).sum()),
        "words_left_out": int(left_out.sum()),
        "vlm_valid": float(np.median(valid)) if len(valid) else None,
        "files": [str(tables.table), str(tables.rejected), str(tables.provenance)],
        "comparison": None,
    }
    if len(scored):
        gold = scored["label"].to_numpy()
        methods = [
            Method(name, _what(name, jobs), scored[f"{column}_answer"].to_numpy()) for name, column in _COLUMNS.items()
        ]
        simple = baselines(gold, scored["has_text"].to_numpy(), labels)
        figures["comparison"] = compare(gold, [*methods, *simple], labels, scored["sha256"].combine_chunks())
    return figures


def _what(name: str, jobs: Mapping[str, Any]) -> str:
    return {
        "VLM": f"{jobs[VLM]['parameters']['model']}, likeliest answer of all that are allowed",
        "CLIP": f"{jobs[CLIP]['parameters']['model']}, nearest class text",
        "CLIP with text": "the same, with the text on the image in the class texts",
    }[name]


def _card(row: Mapping[str, Any], labels: Sequence[str], images: Path) -> Card:
    """One meme; without pictures where its file is gone by now."""
    try:
        image = open_picture(read_unchanged(row["row"], images / row["path"], row["sha256"])).image
    except (decode.ImageChanged, BadImage):
        pictures = []
    else:
        box = Box(*row["seen"])
        pictures = [
            (data_uri(small_copy(image)), "The image"),
            (data_uri(heat_over(image, row["eigen"], box)), "EigenCAM, weak evidence" + _cold(row["eigen"])),
            (data_uri(heat_over(image, row["grad"], box)), "GradCAM, weak evidence" + _cold(row["grad"])),
        ]
    lines: list[list[Cell]] = [
        ["gold label", row["label"] or "(none)", None, *(None for _ in labels)],
    ]
    lines += [
        [name, row[f"{column}_answer"], _right(row, column), *(f"{p:.2f}" for p in row[f"{column}_probabilities"])]
        for name, column in _COLUMNS.items()
    ]
    texts = {"Text on the image, as it was read": row["text"] or "(none)"}
    if row["words_used"] < row["words"]:
        texts["Of it CLIP took"] = f"{row['words_used']} of {row['words']} words"
    texts["The VLM's explanation"] = row["explanation"] or "(none)"
    table = Table(["method", "class", "", *(f"p({label})" for label in labels)], lines)
    return Card(f"{row['row']} · {row['path']}", pictures, table, texts)


def _cold(heat: Sequence[float]) -> str:
    return "" if max(heat) > 0 else ": nothing speaks for the class"


def _right(row: Mapping[str, Any], column: str) -> str:
    if row["label"] is None:
        return ""
    return "right" if row[f"{column}_answer"] == row["label"] else "wrong"


def _page(figures: Mapping[str, Any], cards: Sequence[Card], rejected: Sequence[Mapping[str, Any]]) -> Page:
    compared = figures["comparison"]
    accuracy = {
        f"Accuracy, {name}" + (" (baseline)" if method["is_baseline"] else ""): "{} ({})".format(
            *_with_n(method["accuracy"])
        )
        for name, method in (compared["methods"].items() if compared else ())
    }
    return Page(
        f"Memes without training: {Path(figures['source']['path']).stem}" + (" (toy models)" if figures["toy"] else ""),
        facts={
            "Images in": figures["rows"],
            "Classified": figures["classified"],
            "Rejected": figures["rejected"],
            "With a gold label": figures["classified"] - figures["unlabelled"],
            **accuracy,
        },
        sections=list(_sections(figures, cards, rejected)),
    )


def _sections(
    figures: Mapping[str, Any], cards: Sequence[Card], rejected: Sequence[Mapping[str, Any]]
) -> Iterator[Section]:
    if figures["toy"]:
        yield Section("Toy models", _TOY)
    if figures["comparison"]:
        yield from _compared(figures["comparison"], figures["labels"])
    yield Section("What the models could say and see", "\n\n".join(_seen(figures)))
    capped = "" if len(cards) == figures["classified"] else " The others are in the table; `pictures` shows more."
    yield Section(
        "Meme by meme",
        f"{len(cards):,} of {figures['classified']:,} images, the worst disagreements between methods and gold label "
        f"first.{capped}\n\n{_HOW_TO_READ}",
        cards,
    )
    if rejected:
        columns = {"row": "row", "path": "path", "reason": "error", "message": "message"}
        yield rejected_section(rejected, figures, "images", columns)
    yield Section("What was done with what", parts=[Table(["", ""], list(_made(figures)))])


def _compared(compared: Mapping[str, Any], labels: Sequence[str]) -> Iterator[Section]:
    n = compared["n"]
    copies = "" if compared["groups"] == n else f" They are {compared['groups']:,} different images: copies count once."
    yield Section(
        "Which is right how often",
        f"n = {n:,} images with a gold label.{copies} One image is {carried(1 / n, max(n, 1000))} of the accuracy. "
        "Intervals: 95 %, Wilson for shares and for a class's F1, and from those of the classes for macro F1. "
        "Baselines are fitted on these very rows, so they are as good as such rules can be.",
        [
            Table(
                ["method", "accuracy", "95 % interval", "right", "macro F1", "95 % interval", "decides"],
                _ranked(compared),
            )
        ],
    )
    yield Section(
        "Class by class",
        parts=[
            Table(
                [
                    "method",
                    "class",
                    "precision",
                    "95 % interval",
                    "n",
                    "recall",
                    "95 % interval",
                    "n",
                    "F1",
                    "95 % interval",
                ],
                [
                    [name, label, *_with_n(item["precision"]), *_with_n(item["recall"]), *_with_n(item["f1"])[:2]]
                    for name, method in compared["methods"].items()
                    for label, item in method["classes"].items()
                ],
            )
        ],
    )
    yield Section(
        "Confusion",
        "How many images of each gold label got each answer.",
        [
            Table(
                ["method", "gold", *labels],
                [
                    [name, label, *counts]
                    for name, method in compared["methods"].items()
                    for label, counts in zip(labels, method["confusion"], strict=True)
                ],
            )
        ],
    )
    yield Section(
        "Each two methods on the same images",
        "McNemar's test, exact where no image is there twice. p is of one comparison, not corrected for there being more.",
        [
            Table(
                ["one", "other", "only one right", "only other right", "p"],
                [
                    [pair["one"], pair["other"], pair["only_one"], pair["only_other"], f"{pair['p']:.2g}"]
                    for pair in compared["mcnemar"]
                ],
            )
        ],
    )


def _ranked(compared: Mapping[str, Any]) -> list[list[Cell]]:
    return [
        [
            name + (" (baseline)" if method["is_baseline"] else ""),
            *_with_n(method["accuracy"])[:2],
            f"{method['accuracy']['right']:,}\u00a0of\u00a0{method['accuracy']['n']:,}",
            *_with_n(method["macro"]["f1"])[:2],
            method["what"],
        ]
        for name, method in compared["methods"].items()
    ]


def _with_n(item: Mapping[str, Any]) -> list[Cell]:
    """A figure, its interval and its n, with the decimals that n carries."""
    if item["value"] is None:
        return [None, None, item["n"]]
    low, high = (carried(end, item["n"]).removesuffix(" %") for end in item["interval_95"])
    return [carried(item["value"], item["n"]), f"{low} to {high} %", item["n"]]


def _seen(figures: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{figures['with_text']:,} of {figures['classified']:,} images have text. CLIP's text tower takes few tokens, and "
        f"a Cyrillic letter often takes one: {figures['text_cut']:,} texts did not fit whole, "
        f"{figures['words_left_out']:,} words at their ends were left out, the same for every class."
    )
    if figures["vlm_valid"] is not None:
        yield (
            f"The allowed answers make up {figures['vlm_valid']:.2g} of all that the VLM could have written (median). "
            "Where this is near 0 it would rather have written something else, and its class says little. Explanations "
            "were written after the class was fixed: they defend it, and are no evidence that it is right."
        )


def _made(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "table", figures["source"]["path"]
    yield "SHA-256", figures["source"]["sha256"]
    for kind, job in figures["jobs"].items():
        yield kind, job["job"]
        for name, value in job["parameters"].items():
            yield f"{kind}: {name}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in job["versions"].items():
            yield f"{kind}: version of {name}", value
    for path in figures["files"]:
        yield "file", path


def _markdown(figures: Mapping[str, Any], html: Path) -> str:
    parts = [
        f"# {figures['classified']:,} of {figures['rows']:,} memes classified",
        f"[Report with pictures and heat maps]({html.absolute().as_uri()}): `{html.absolute()}`",
    ]
    if figures["toy"]:
        parts.append(f"**Toy models.** {_TOY}")
    if compared := figures["comparison"]:
        columns = ["method", "accuracy", "95 % interval", "right", "macro F1", "95 % interval"]
        parts.append(
            markdown_table(
                columns, [["" if cell is None else str(cell) for cell in row[:-1]] for row in _ranked(compared)]
            )
        )
        pairs = [
            [pair["one"], pair["other"], str(pair["only_one"]), str(pair["only_other"]), f"{pair['p']:.2g}"]
            for pair in compared["mcnemar"]
        ]
        parts.append(markdown_table(["one", "other", "only one right", "only other right", "p (McNemar)"], pairs))
    reasons = [[code, f"{item['images']:,}", item["reason"]] for code, item in figures["rejected_by_reason"].items()]
    if reasons:
        parts += ["## Rejected", markdown_table(["reason", "images", "which means"], reasons)]
    return "\n\n".join(parts) + "\n"
