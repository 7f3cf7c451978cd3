"""What a folder of memes looks like, for people and for programs.

::

    reports/read-memes/report.html    contact sheet, sizes, labels, text, duplicates in one file that needs no network
                       report.json    the same figures

Equal tables give equal bytes. Pictures on the contact sheet are made anew from their pixels: nothing of a file but what it
shows gets into the page.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from tasks.chunks.manifest import Manifest
from tasks.memes import catalog
from tasks.memes.chunk import UNREAD
from tasks.memes.collect import Tables
from tasks.memes.readers.protocol import letters
from tasks.pages.page import Page, Pictures, Plot, Section, Table
from tasks.pages.plots import bars, histogram
from tasks.pages.words import markdown_table, percent
from tasks.pictures import decode
from tasks.pictures.decode import BadImage, open_picture
from tasks.pictures.thumbnail import thumbnail
from tasks.stats.intervals import wilson
from tasks.storage.files import write_bytes
from tasks.storage.schemas import MEMES, MEMES_REJECTED
from tasks.storage.tables import read_table

# Why an image is rejected, for every code that a table may hold.
REJECTIONS = {**catalog.REASONS, **decode.REASONS, **UNREAD}

NEAR = 3  # bits in which hashes of what looks the same may differ
_ON_SHEET = 48
_SHOWN = 20  # rejected images, and duplicates, that are named


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and the short form."""

    html: Path
    json: Path
    markdown: str


def write_report(folder: Path, manifest: Manifest, tables: Tables) -> Report:
    """Write the report of a job whose tables are there.

    Raises:
        TornFile: A table is damaged.
        DiskFull: No room; the old report is untouched.
    """
    columns = ["row", "path", "sha256", "label", "format", "changes", "width", "height", "phash", "text", "confidence"]
    rows = read_table(tables.table, MEMES, columns).to_pylist()
    rejected = read_table(tables.rejected, MEMES_REJECTED).to_pylist()
    figures = _figures(manifest, tables, rows, rejected)
    text = json.dumps(figures, indent=2, ensure_ascii=False)
    written = write_bytes(folder / "report.json", text.encode())
    sheet = contact_sheet(rows, Path(manifest.source.path))
    html = write_bytes(folder / "report.html", _page(figures, rows, rejected, sheet).html().encode())
    return Report(html, written, _markdown(figures, html))


def duplicates(rows: Sequence[Mapping[str, Any]]) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Images that are there more than once.

    Returns:
        Rows with the same bytes, set by set; and pairs of rows that look the same with other bytes. Hashes that
        differ in at most 3 bits agree in one of four quarters, so only such pairs are compared.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        same[row["sha256"]].append(row["row"])
    hashes = {
        found[0]: row["phash"] for row in rows if row["phash"] and (found := same[row["sha256"]])[0] == row["row"]
    }
    quarters: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, value in hashes.items():
        for quarter in range(NEAR + 1):
            quarters[quarter, value[4 * quarter : 4 * quarter + 4]].append(number)
    near = {
        pair
        for some in quarters.values()
        for pair in combinations(some, 2)
        if (int(hashes[pair[0]], 16) ^ int(hashes[pair[1]], 16)).bit_count() <= NEAR
    }
    return [some for some in same.values() if len(some) > 1], sorted(near)


def contact_sheet(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[tuple[str, str]]:
    """Thumbnails of images spread evenly over the rows, with label and text; what is gone by now is left out."""
    chosen = [rows[at] for at in np.linspace(0, len(rows) - 1, min(len(rows), _ON_SHEET)).round().astype(int)]
    sheet = []
    for row in chosen:
        try:
            image = open_picture((folder / row["path"]).read_bytes()).image
        except (OSError, BadImage):
            continue
        words = f"{row['row']} · {row['label'] or 'no label'} · {row['text'] or 'no text'}".replace("\n", " / ")
        sheet.append((thumbnail(image), words))
    return sheet


def _figures(
    manifest: Manifest, tables: Tables, rows: Sequence[Mapping[str, Any]], rejected: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    same, near = duplicates(rows)
    path = {row["row"]: row["path"] for row in rows}
    label = {row["row"]: row["label"] for row in rows}
    both = [*same, *map(list, near)]
    return {
        "job": manifest.job,
        "folder": str(manifest.folder),
        "source": asdict(manifest.source),
        "parameters": dict(manifest.parameters),
        "versions": dict(manifest.versions),
        "rows": tables.rows,
        "delivered": tables.delivered,
        "rejected": len(rejected),
        "rejected_by_reason": {
            code: {"images": n, "reason": REJECTIONS.get(code, code)} for code, n in tables.reasons.most_common()
        },
        "labels": {
            name: {"images": n, **_text_share([row for row in rows if (row["label"] or "(none)") == name])}
            for name, n in sorted(Counter(row["label"] or "(none)" for row in rows).items())
        },
        "text": _text_share(rows),
        "formats": dict(sorted(Counter(row["format"] for row in rows).items())),
        "changes": dict(sorted(Counter(change for row in rows for change in row["changes"]).items())),
        "same_bytes": [[path[row] for row in some] for some in same],
        "looks_the_same": [[path[row] for row in pair] for pair in near],
        "duplicates_with_other_labels": [
            [path[row] for row in some] for some in both if len({label[row] for row in some}) > 1
        ],
        "files": [str(tables.table), str(tables.rejected), str(tables.provenance)],
    }


def _text_share(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    hits = sum(bool(row["text"]) for row in rows)
    share = hits / len(rows) if rows else 0.0
    return {"with_text": hits, "share_with_text": share, "interval_95": list(wilson(hits, len(rows)))}


def _page(
    figures: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    rejected: Sequence[Mapping[str, Any]],
    sheet: Sequence[tuple[str, str]],
) -> Page:
    again = len(figures["same_bytes"]) + len(figures["looks_the_same"])
    return Page(
        f"Memes: {Path(figures['source']['path']).name}",
        facts={
            "Images in": figures["rows"],
            "Delivered": figures["delivered"],
            "Rejected": figures["rejected"],
            "With text": percent(figures["text"]["share_with_text"]),
            "Labels": len(figures["labels"]),
            "There more than once": again,
        },
        sections=list(_sections(figures, rows, rejected, sheet)),
    )


def _sections(
    figures: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    rejected: Sequence[Mapping[str, Any]],
    sheet: Sequence[tuple[str, str]],
) -> Iterator[Section]:
    yield Section(
        "Contact sheet",
        f"{len(sheet)} of {figures['delivered']:,} images, evenly spread: row, label, text as it was read.",
        [Pictures(sheet)],
    )
    labels = figures["labels"]
    yield Section(
        "Labels and text",
        "Whether a reader found text. Intervals: Wilson, 95 %, images taken as independent.",
        [
            Table(
                ["label", "images", "with text", "share", "95 % interval"],
                [
                    [
                        name,
                        item["images"],
                        item["with_text"],
                        percent(item["share_with_text"]),
                        f"{100 * item['interval_95'][0]:.1f} to {100 * item['interval_95'][1]:.1f} %",
                    ]
                    for name, item in labels.items()
                ],
            ),
            *(
                [bars("Images by label", {name: item["images"] for name, item in labels.items()}, "images")]
                if labels
                else []
            ),
            *_spread("Letters and digits per image", [letters(row["text"]) for row in rows], "letters"),
            *_spread("Confidence of the text", [row["confidence"] for row in rows if row["text"]], "confidence"),
        ],
    )
    yield Section(
        "Sizes",
        "Pixels after turning upright.",
        [
            *_spread("Longer side", [max(row["width"], row["height"]) for row in rows], "pixels"),
            *_spread("Width by height", [row["width"] / row["height"] for row in rows], "width / height"),
            Table(["format", "images"], list(figures["formats"].items())),
            *([Table(["normalised", "images"], list(figures["changes"].items()))] if figures["changes"] else []),
        ],
    )
    yield Section("There more than once", "\n\n".join(_duplicates(figures)), list(_pairs(figures)))
    if rejected:
        reasons = figures["rejected_by_reason"]
        first = [[row["row"], row["path"], row["error"], row["message"]] for row in rejected[:_SHOWN]]
        yield Section(
            "Rejected",
            f"All of them, with their reasons: {figures['files'][1]}",
            [
                Table(["reason", "images", "which means"], [[c, i["images"], i["reason"]] for c, i in reasons.items()]),
                Table(["row", "path", "reason", "message"], first, f"The first {len(first)} rejected images"),
            ],
        )
    said = [(name, json.dumps(value, ensure_ascii=False)) for name, value in figures["parameters"].items()]
    origin = [
        ("folder", figures["source"]["path"]),
        ("digest", figures["source"]["sha256"]),
        ("job", figures["folder"]),
    ]
    versions = [(f"version of {name}", value) for name, value in figures["versions"].items()]
    files = [("file", path) for path in figures["files"]]
    yield Section("What was done with what", parts=[Table(["", ""], [*origin, *said, *versions, *files])])


def _spread(title: str, values: Sequence[float], unit: str) -> list[Plot]:
    if not values:
        return []
    counts, edges = np.histogram(values, bins=min(20, max(1, len(set(values)))))
    return [histogram(title, edges.tolist(), counts.tolist(), unit)]


def _duplicates(figures: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{len(figures['same_bytes']):,} images are there again with the same bytes, and "
        f"{len(figures['looks_the_same']):,} pairs look the same: their perceptual hashes differ in at most {NEAR} of 64 "
        "bits. All of them are delivered; a split has to keep them together."
    )
    if differ := figures["duplicates_with_other_labels"]:
        yield f"{len(differ):,} of these have different labels, such as {' and '.join(differ[0])}."


def _pairs(figures: Mapping[str, Any]) -> Iterator[Table]:
    for title, key in (("Same bytes", "same_bytes"), ("Looks the same", "looks_the_same")):
        if some := figures[key][:_SHOWN]:
            yield Table(
                [title], [[", ".join(paths)] for paths in some], f"The first {len(some)} of {len(figures[key]):,}"
            )


def _markdown(figures: Mapping[str, Any], html: Path) -> str:
    rows = [
        ["images in", f"{figures['rows']:,}"],
        ["delivered", f"{figures['delivered']:,}"],
        ["rejected", f"{figures['rejected']:,}"],
        ["with text", percent(figures["text"]["share_with_text"])],
        *([f"label {name}", f"{item['images']:,}"] for name, item in figures["labels"].items()),
        ["same bytes as another", f"{len(figures['same_bytes']):,}"],
        ["pairs that look the same", f"{len(figures['looks_the_same']):,}"],
    ]
    reasons = [[code, f"{item['images']:,}", item["reason"]] for code, item in figures["rejected_by_reason"].items()]
    parts = [
        f"# {figures['delivered']:,} of {figures['rows']:,} images read",
        f"[Report with a contact sheet]({html.absolute().as_uri()}): `{html.absolute()}`",
        markdown_table(["", "n"], rows),
    ]
    if reasons:
        parts += ["## Rejected", markdown_table(["reason", "images", "which means"], reasons)]
    return "\n\n".join(parts) + "\n"
