"""A job: its manifest, the rows that were laid out, and every chunk that is done.

::

    jobs/translate-llava-3f2a9c01d7b4/manifest.json, rows.parquet, rejected.parquet, chunks/chunk-00017.parquet
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.chunks.manifest import Chunk, Manifest, job_folder, read_manifest
from tasks.cli.verify_rows import Check, Held, check_rows
from tasks.evaluation import plan as evaluating
from tasks.jokes import plan as mining
from tasks.judging import plan as comparing
from tasks.memes import plan as memes
from tasks.storage.errors import ForeignTable, PermanentError, TornFile
from tasks.storage.schemas import (
    CLIP_ANSWERS,
    CONVERSATIONS,
    EXAMPLES,
    JOKES_EXTRACTED,
    JOKES_REFINED,
    JOKES_REJECTED,
    LLAVA_REJECTED,
    MEME_FILES,
    MEME_READINGS,
    MEMES_REJECTED,
    MEMES_TO_CLASSIFY,
    MEMES_UNCLASSIFIED,
    PAIRS,
    PAIRS_JUDGED,
    PREDICTIONS,
    REQUESTS,
    TRANSLATIONS,
    VLM_ANSWERS,
    WINDOW_JOKES,
    WINDOWS,
    WRITTEN,
    TableSchema,
)
from tasks.storage.tables import read_group, read_table
from tasks.zeroshot import plan as classifying

# By kind of job: the shape of a chunk, of the rows that are laid out, and of those that were refused then.
_LAYOUTS: dict[str, tuple[TableSchema, TableSchema, TableSchema | None]] = {
    "translate-llava": (TRANSLATIONS, CONVERSATIONS, LLAVA_REJECTED),
    memes.KIND: (MEME_READINGS, MEME_FILES, MEMES_REJECTED),
    classifying.VLM: (VLM_ANSWERS, MEMES_TO_CLASSIFY, MEMES_UNCLASSIFIED),
    classifying.CLIP: (CLIP_ANSWERS, MEMES_TO_CLASSIFY, MEMES_UNCLASSIFIED),
    evaluating.KIND: (PREDICTIONS, EXAMPLES, None),  # nothing is refused before a model is asked
    evaluating.TEXT_KIND: (PREDICTIONS, EXAMPLES, None),
    mining.EXTRACT: (WINDOW_JOKES, WINDOWS, JOKES_REJECTED),
    mining.REFINE: (JOKES_REFINED, JOKES_EXTRACTED, None),
    comparing.WRITE: (WRITTEN, REQUESTS, None),
    comparing.JUDGE: (PAIRS_JUDGED, PAIRS, None),
}


def check_job(folder: Path) -> Iterator[Check]:
    """A job's folder."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise PermanentError(f"{folder} has no manifest: the job was not planned to its end. Run the flow again.")
    check = Check(folder, "the manifest is the one that gave the folder its name", 1)
    named = job_folder(
        folder.parent,
        manifest.kind,
        manifest.source.sha256,
        manifest.parameters,
        manifest.versions,
        manifest.chunk_size,
    )
    if named != folder:
        check.find("manifest", f"manifest.json belongs to {named.name}: it was changed, or the folder renamed")
    if manifest.kind not in _LAYOUTS:
        check.find("kind", f"its kind {manifest.kind!r} is not known here: another version may have made it")
        yield check
        return
    yield check
    shape, laid_out, refused = _LAYOUTS[manifest.kind]
    yield _laid_out(manifest, laid_out, refused)
    chunks = manifest.chunks()
    there = [chunk for chunk in chunks if manifest.path(chunk).exists()]
    check = Check(
        folder,
        f"chunks that are done are whole and of this job ({len(chunks) - len(there)} to do)",
        len(there),
    )
    whole = [chunk for chunk in there if manifest.done(chunk, shape)]
    for chunk in there:
        if chunk not in whole:
            check.find("chunk", f"{chunk.name} is torn or of another job; a retry of the run makes it again")
    yield check
    yield _same_source(manifest, whole, laid_out, shape)
    yield from check_rows(folder / "chunks", [manifest.path(chunk) for chunk in whole], shape, Held())


def _laid_out(manifest: Manifest, laid_out: TableSchema, rejected: TableSchema | None) -> Check:
    """rows.parquet and rejected.parquet hold every position of the source once."""
    check = Check(manifest.folder, "rows laid out and rows rejected are the source's rows, each once", manifest.rows)
    try:
        refused = read_table(manifest.rejected_path, rejected, ["row"])["row"].to_pylist() if rejected else []
        if len(refused) != manifest.rejected:
            check.find("rejected", f"rejected.parquet has {len(refused)} rows, the manifest says {manifest.rejected}")
        rest = set(refused)
        for chunk in manifest.chunks():
            rows = read_group(manifest.rows_path, laid_out, chunk.number)["row"].to_pylist()
            expected = [row for row in range(chunk.start, chunk.stop) if row not in rest]
            if rows != expected:
                check.find("rows", f"{chunk.name} should have {len(expected)} rows, rows.parquet has others")
    except (FileNotFoundError, TornFile, ForeignTable, IndexError) as error:
        check.find(type(error).__name__, f"{error} Move {manifest.folder} away and run the flow again.")
    return check


def _same_source(manifest: Manifest, chunks: Sequence[Chunk], laid_out: TableSchema, shape: TableSchema) -> Check:
    check = Check(manifest.folder, "chunks hold the rows that were laid out for them", len(chunks))
    columns = [name for name in laid_out.columns.names if name in shape.columns.names]
    for chunk in chunks:
        rows = read_group(manifest.rows_path, laid_out, chunk.number, columns)
        done = read_table(manifest.path(chunk), shape, columns).sort_by("row")
        if not done.select(columns).equals(rows):
            check.find(
                "chunk",
                f"{chunk.name} has other rows than rows.parquet; move it away and run again",
            )
    return check
