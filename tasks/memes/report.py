"""What a folder of memes looks like, for people and for programs.

::

    reports/read-memes/report.html    contact sheet, sizes, labels, text, duplicates in one file that needs no network
                       report.json    the same figures

Equal tables give equal bytes. Pictures on the contact sheet are made anew from their pixels: nothing of a file but what it
shows gets into the page.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from tasks.chunks.manifest import Manifest
from tasks.memes import catalog
from tasks.memes.chunk import UNREAD
from tasks.memes.collect import Tables
from tasks.memes.readers.protocol import letters
from tasks.pages.page import Page, Pictures, Plot, Section, Table
from tasks.pages.plots import bars, histogram
from tasks.pages.rejected import REJECTED_SHOWN, rejected_section
from tasks.pages.words import markdown_table, percent
from tasks.pictures import decode
from tasks.pictures.decode import BadImage, open_picture
from tasks.pictures.near import near_sets, repeated
from tasks.pictures.thumbnail import thumbnail
from tasks.stats.intervals import wilson
from tasks.storage.files import write_bytes
from tasks.storage.schemas import MEMES, MEMES_REJECTED
from tasks.storage.tables import read_batches, read_rows

# Why an image is rejected, for every code that a table may hold.
REJECTIONS = {**catalog.REASONS, **decode.REASONS, **UNREAD}

NEAR = 3  # bits in which hashes of what looks the same may differ
_AT_ONCE = 500  # rows whose text is held together
_COLUMNS = ["path", "sha256", "label", "format", "changes", "width", "height", "phash", "confidence"]
_ON_SHEET = 48
_SHOWN = 20  # duplicates that are named


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
    rows = read_images(tables.table)
    rejected = next(read_batches(tables.rejected, MEMES_REJECTED, REJECTED_SHOWN), None)
    refused = rejected.to_pylist() if rejected else []
    figures = _figures(manifest, tables, rows)
    text = json.dumps(figures, indent=2, ensure_ascii=False)
    written = write_bytes(folder / "report.json", text.encode())
    sheet = contact_sheet(tables, Path(manifest.source.path))
    html = write_bytes(folder / "report.html", _page(figures, rows, refused, sheet).html().encode())
    return Report(html, written, _markdown(figures, html))


def read_images(table: Path) -> pa.Table:
    """What figures need of each image: of its text whether there is any, and how many ``letters`` it has."""
    pieces = []
    for some in read_batches(table, MEMES, _AT_ONCE, [*_COLUMNS, "text"]):
        text, rows = some["text"], pa.Table.from_batches([some]).select(_COLUMNS)
        counts = pa.array([letters(each) for each in text.to_pylist()], pa.int32())
        pieces.append(rows.append_column("has_text", pc.not_equal(text, "")).append_column("letters", counts))
    return pa.concat_tables(pieces)


def duplicates(rows: pa.Table) -> tuple[list[list[int]], list[list[int]]]:
    """Images that are there more than once.

    Returns:
        Positions of images with the same bytes, set by set; and of images that look the same with other bytes, set by set:
        each differs in at most 3 bits of its hash from another one of its set.
    """
    _, first, of_row = np.unique(_unhex(rows["sha256"], "S32"), return_index=True, return_inverse=True)
    same = _sets(first[of_row])
    once = np.sort(first)
    once = once[rows["phash"].take(once).is_valid().to_numpy()]  # a picture of one colour has none
    hashes, of_image = np.unique(_unhex(rows["phash"].take(once), ">u8"), return_inverse=True)
    return same, [once[some].tolist() for some in _sets(near_sets(hashes.astype(np.uint64), NEAR)[of_image])]


def _unhex(digests: pa.ChunkedArray, kind: str) -> NDArray[Any]:
    return np.frombuffer(b"".join(bytes.fromhex("".join(some.to_pylist())) for some in digests.chunks), kind)


def _sets(of_image: NDArray[np.int64]) -> list[list[int]]:
    """Positions that have one value, where several have it."""
    return sorted(places.tolist() for places in repeated(of_image))


def contact_sheet(tables: Tables, folder: Path) -> list[tuple[str, str]]:
    """Thumbnails of images spread evenly over the rows, with label and text; what is gone by now is left out."""
    n = tables.delivered
    chosen = np.linspace(0, n - 1, min(n, _ON_SHEET)).round().astype(int).tolist()
    sheet = []
    for row in read_rows(tables.table, MEMES, chosen, ["row", "path", "label", "text"]):
        try:
            image = open_picture((folder / row["path"]).read_bytes()).image
        except (OSError, BadImage):
            continue
        words = f"{row['row']} · {row['label'] or 'no label'} · {row['text'] or 'no text'}".replace("\n", " / ")
        sheet.append((thumbnail(image), words))
    return sheet


def _figures(manifest: Manifest, tables: Tables, rows: pa.Table) -> dict[str, Any]:
    same, near = duplicates(rows)
    path, label = rows["path"], rows["label"]
    named = Counter(each.as_py() or "(none)" for each in label)
    read = Counter(one.as_py() or "(none)" for one, text in zip(label, rows["has_text"], strict=True) if text.as_py())
    return {
        "job": manifest.job,
        "folder": str(manifest.folder),
        "source": asdict(manifest.source),
        "parameters": dict(manifest.parameters),
        "versions": dict(manifest.versions),
        "rows": tables.rows,
        "delivered": tables.delivered,
        "rejected": tables.reasons.total(),
        "rejected_by_reason": {
            code: {"images": n, "reason": REJECTIONS.get(code, code)} for code, n in tables.reasons.most_common()
        },
        "labels": {name: {"images": n, **_text_share(read[name], n)} for name, n in sorted(named.items())},
        "text": _text_share(read.total(), len(rows)),
        "formats": dict(sorted(Counter(each.as_py() for each in rows["format"]).items())),
        "changes": dict(sorted(Counter(change for each in rows["changes"] for change in each.as_py()).items())),
        "same_bytes": [path.take(some).to_pylist() for some in same],
        "looks_the_same": [path.take(some).to_pylist() for some in near],
        "duplicates_with_other_labels": [
            path.take(some).to_pylist() for some in [*same, *near] if len(set(label.take(some).to_pylist())) > 1
        ],
        "files": [str(tables.table), str(tables.rejected), str(tables.provenance)],
    }


def _text_share(hits: int, images: int) -> dict[str, Any]:
    share = hits / images if images else 0.0
    return {"with_text": hits, "share_with_text": share, "interval_95": list(wilson(hits, images))}


def _page(
    figures: Mapping[str, Any],
    rows: pa.Table,
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
            "Sets of duplicates": again,
        },
        sections=list(_sections(figures, rows, rejected, sheet)),
    )


def _sections(
    figures: Mapping[str, Any],
    rows: pa.Table,
    rejected: Sequence[Mapping[str, Any]],
    sheet: Sequence[tuple[str, str]],
) -> Iterator[Section]:
    yield Section(
        "Contact sheet",
        f"{len(sheet)} of {figures['delivered']:,} images, evenly spread: row, label, text as it was read.",
        [Pictures(sheet)],
    )
    labels = figures["labels"]
    width, height = rows["width"].to_numpy(), rows["height"].to_numpy()
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
            *_spread("Letters and digits per image", rows["letters"].to_numpy(), "letters"),
            *_spread("Confidence of the text", rows["confidence"].filter(rows["has_text"]).to_numpy(), "confidence"),
        ],
    )
    yield Section(
        "Sizes",
        "Pixels after turning upright.",
        [
            *_spread("Longer side", np.maximum(width, height), "pixels"),
            *_spread("Width by height", width / height, "width / height"),
            Table(["format", "images"], list(figures["formats"].items())),
            *([Table(["normalised", "images"], list(figures["changes"].items()))] if figures["changes"] else []),
        ],
    )
    yield Section("There more than once", "\n\n".join(_duplicates(figures)), list(_again(figures)))
    if rejected:
        columns = {"row": "row", "path": "path", "reason": "error", "message": "message"}
        yield rejected_section(rejected, figures, "images", columns)
    said = [(name, json.dumps(value, ensure_ascii=False)) for name, value in figures["parameters"].items()]
    origin = [
        ("folder", figures["source"]["path"]),
        ("digest", figures["source"]["sha256"]),
        ("job", figures["folder"]),
    ]
    versions = [(f"version of {name}", value) for name, value in figures["versions"].items()]
    files = [("file", path) for path in figures["files"]]
    yield Section("What was done with what", parts=[Table(["", ""], [*origin, *said, *versions, *files])])


def _spread(title: str, values: ArrayLike, unit: str) -> list[Plot]:
    numbers = np.asarray(values)
    if not len(numbers):
        return []
    counts, edges = np.histogram(numbers, bins=min(20, len(np.unique(numbers))))
    return [histogram(title, edges.tolist(), counts.tolist(), unit)]


def _duplicates(figures: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{_images(figures['same_bytes'])} have the same bytes, and {_images(figures['looks_the_same'])} look the same: "
        f"each one's perceptual hash differs in at most {NEAR} of 64 bits from another's in its set. All of them are "
        "delivered; a split has to keep them together."
    )
    if differ := figures["duplicates_with_other_labels"]:
        yield f"{len(differ):,} of these sets have different labels, such as {' and '.join(differ[0][:_SHOWN])}."


def _images(sets: Sequence[Sequence[str]]) -> str:
    return f"{sum(map(len, sets)):,} images in {len(sets):,} sets"


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else ""
    return f"{', '.join(paths[:_SHOWN])}{more}"


def _again(figures: Mapping[str, Any]) -> Iterator[Table]:
    for title, key in (("Same bytes", "same_bytes"), ("Looks the same", "looks_the_same")):
        if some := figures[key][:_SHOWN]:
            yield Table([title], [[_some(paths)] for paths in some], f"The first {len(some)} of {len(figures[key]):,}")


def _markdown(figures: Mapping[str, Any], html: Path) -> str:
    rows = [
        ["images in", f"{figures['rows']:,}"],
        ["delivered", f"{figures['delivered']:,}"],
        ["rejected", f"{figures['rejected']:,}"],
        ["with text", percent(figures["text"]["share_with_text"])],
        *([f"label {name}", f"{item['images']:,}"] for name, item in figures["labels"].items()),
        ["same bytes as another", _images(figures["same_bytes"])],
        ["look the same", _images(figures["looks_the_same"])],
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
