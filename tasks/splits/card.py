"""The dataset card: ``README.md`` with the front matter that ``datasets`` and the Hub read.

::

    ---
    license: cc-by-nc-4.0
    configs:
    - config_name: default
      data_files:
      - {split: train, path: data/train-*.parquet}
    ---
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tasks.pages.words import markdown_table
from tasks.splits.keys import PHASH, REPEATS
from tasks.storage.files import write_bytes

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(path: Path, certificate: Mapping[str, Any], licence: str, provenance: Mapping[str, Any]) -> Path:
    """Write the card of one version.

    Args:
        path: README.md in the version's folder.
        certificate: All but the files' hashes, of which the card is one.
        licence: The source's, or empty.
        provenance: What the table says of its making, or empty.
    """
    front = yaml.safe_dump(_front(certificate, licence, provenance), sort_keys=False, allow_unicode=True)
    body = "\n".join(_body(certificate, licence))
    return write_bytes(path, f"---\n{front}---\n\n{body}\n".encode())


def equal_bytes(certificate: Mapping[str, Any]) -> list[str]:
    """A sentence for every two splits that share images whose names alone differ, of versions that were looked at."""
    return [
        f"{shared['rows']:,} of {shared['of']:,} rows of {shared['split']} have an image whose very bytes stand in "
        f"{shared['other']} under another name."
        for shared in certificate.get("equal_bytes", ())
    ]


def _front(certificate: Mapping[str, Any], licence: str, provenance: Mapping[str, Any]) -> dict[str, Any]:
    rows = sum(split["rows"] for split in certificate["splits"].values())
    front: dict[str, Any] = {"license": licence or "unknown"}
    asked = provenance.get("parameters", {})
    if language := asked.get("target") or asked.get("language"):
        front["language"] = [language]
    if "conversations" in certificate:
        front["task_categories"] = ["text-generation"]
    return front | {
        "pretty_name": certificate["dataset"],
        "size_categories": [next((name for below, name in _SIZES if rows < below), "1M<n<10M")],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in certificate["splits"]],
            }
        ],
    }


def _body(certificate: Mapping[str, Any], licence: str) -> Iterator[str]:
    asked, source, splits = certificate["parameters"], certificate["source"], certificate["splits"]
    columns = " or ".join(f"`{column}`" for column in asked["group_by"])
    yield f"# {certificate['dataset']}, version {certificate['version']}"
    yield ""
    told = source.get("name") or certificate["table"]["name"]
    where = f" ({source['url']})" if source.get("url") else ""
    yield f"Made from `{certificate['table']['name']}`, whose source is {told}{where}. Licence: {_licence(licence)}."
    yield ""
    yield "```python"
    yield "from pathlib import Path"
    yield ""
    yield "from datasets import load_dataset"
    yield ""
    yield 'rows = load_dataset(str(Path.cwd()))  # in the folder of this card; "." alone has no name'
    yield f'print(rows["{next(iter(splits))}"][0])'
    yield "```"
    yield ""
    if conversations := certificate.get("conversations"):
        yield from _conversations(conversations)
    yield "## Splits"
    yield ""
    labels = sorted({label for split in splits.values() for label in split["labels"]})
    names = ["split", "rows", "groups", *labels, *(["no label"] if labels else [])]
    rows = []
    for name, split in splits.items():
        cells = [split["rows"], split["groups"], *(split["labels"].get(label, 0) for label in labels)]
        cells += [split["without_label"]] if labels else []
        rows.append([name, *(f"{cell:,}" for cell in cells)])
    yield markdown_table(names, rows)
    yield ""
    yield f"Rows that share {columns} stand in one split (`split_group`){_near(certificate)}. {_how(certificate)}"
    if certificate["rows_without_key"]:
        yield f"{certificate['rows_without_key']:,} rows have none of these; each stands for itself and its exact copies."
    not_taken = certificate.get("not_taken", {})
    if not_taken:
        reasons = ", ".join(f"{reason} {rows:,}" for reason, rows in not_taken.items())
        yield (
            f"{sum(not_taken.values()):,} of {certificate['table']['rows']:,} rows were not taken (`{asked['keep']}` is "
            f"false) and stand in `left-out.parquet`: {reasons}."
        )
    if cleaned := certificate["left_out"] - sum(not_taken.values()):
        yield (
            f"{cleaned:,} rows of official splits share a group with a stronger split (test before "
            "validation before train) and stand in none: `left-out.parquet`."
        )
    yield ""
    yield "## Leaks"
    yield ""
    yield (
        f"Found: {certificate['leaks']['found']}. How it was looked for: {certificate['leaks']['how']} "
        "(`certificate.json`). Had the rows been drawn one by one, "
        f"{certificate['random_split']:.1%} of the test rows would share their group with a row of train."
    )
    if told := " ".join(equal_bytes(certificate)):
        yield ""
        yield (
            f"{told} It was not looked for when the splits were made; group_by=sha256 keeps equal images together, with "
            "official=clean also where official splits do not."
        )
    yield ""
    yield "`trasvase verify FOLDER` looks again, and holds every file against its SHA-256."


def _conversations(files: Mapping[str, str]) -> Iterator[str]:
    train = next(iter(files))
    yield (
        'The same rows\' conversations, one `{"messages": [{"role": …, "content": …}]}` a line, as Mistral\'s '
        "fine-tuning API and mistral-finetune, TRL, LLaMA-Factory and ms-swift read them: "
        f"{', '.join(f'`{path}`' for path in files.values())}."
    )
    yield ""
    yield "```python"
    yield f"chats = load_dataset('json', data_files={dict(files)!r})  # for TRL's SFTTrainer as it is"
    yield f'print(chats["{train}"][0]["messages"])'
    yield "```"
    yield ""


def _licence(licence: str) -> str:
    if not licence:
        return "not known; ask the source before you pass this on"
    return "the source's own terms" if licence == "other" else f"{licence}, the source's"


def _near(certificate: Mapping[str, Any]) -> str:
    asked = certificate["parameters"]
    near = ""
    if asked["distance"] and any(column.endswith(PHASH) for column in asked["group_by"]):
        near = f", where perceptual hashes up to {asked['distance']} of 64 bits apart count as equal"
    if REPEATS in asked["group_by"]:
        near += f", where `{REPEATS}` is followed from row to row"
    return near


def _how(certificate: Mapping[str, Any]) -> str:
    asked = certificate["parameters"]
    if certificate["official_rows"] and asked["official"] != "ignore":
        if certificate["official_rows"] == certificate["table"]["rows"] - sum(
            certificate.get("not_taken", {}).values()
        ):
            return "The splits are the official ones."
        kept = "Official splits are kept; a group without one is placed by a hash"
    else:
        kept = "A group's split is a hash"
    if asked["stratify"]:
        return f"{kept} (seed {asked['seed']}) within groups of equal labels, so that labels are in proportion."
    return f"{kept} of seed {asked['seed']} and group alone, so that added rows move no group."
