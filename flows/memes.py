"""Memes: which images there are, what is written on them, and what models without training make of them."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from tasks.classify import (
    ask_clip,
    ask_vlm,
    collect_classified,
    open_clip,
    open_vlm,
    plan_classifying,
    report_classified,
)
from tasks.models.device import Device
from tasks.plan import check_name, chunk_runner, run_chunks, working_on
from tasks.read_memes import collect_memes, open_reader, plan_reading, read_chunk, report_memes
from tasks.storage.schemas import CLIP_ANSWERS, MEME_READINGS, VLM_ANSWERS
from tasks.zeroshot.class_texts import RUSSIAN_WITH_TEXT


@flow(name="read-memes", task_runner=chunk_runner())
def read_memes(
    folder: Path,
    labels: dict[str, str] | None = None,
    reader: str = "auto",
    languages: list[str] | None = None,
    chunk_size: int = 50,
    images: Path | None = None,
    chunks: list[int] | None = None,
    force: bool = False,
    name: str = "memes",
    restarts: int = 0,
) -> Path:
    """Read the text on images. Press Retry on a failed run to do only what is missing.

    Args:
        folder: A folder whose sub-folders name the labels; or a CSV, JSON Lines or Parquet file with `image` and `label`.
        labels: Label by sub-folder, such as {"Негативно": "toxic"}; other folders are rejected. Empty: the names.
        reader: tesseract, hybrid or easyocr; auto takes easyocr where its weights are, else hybrid.
        languages: Languages of the text, such as ["ru", "en"], which is also what nothing means.
        chunk_size: Images per chunk; another size is another job.
        images: The folder that the paths in a file are below; the file's own when empty.
        chunks: Numbers of the chunks to do; all that are missing when empty.
        force: Do these chunks again although they are done.
        name: The table's name, such as "memes" in tables/memes.parquet.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        The table of images that were read; the job's folder while chunks are missing because only some were asked for.
    """
    check_name(name)
    manifest = plan_reading(folder, labels or {}, reader, languages or ["ru", "en"], chunk_size, images, restarts)
    with working_on(manifest.folder, open_reader):
        missing = run_chunks(read_chunk, manifest, MEME_READINGS, chunks, force, restarts)
        if missing:
            return manifest.folder
        tables = collect_memes(manifest, name)
        report_memes(manifest, tables)
    return tables.table


@flow(name="classify-memes", task_runner=chunk_runner())
def classify_memes(
    table: Path = Path("memes"),
    vlm: str = "Qwen/Qwen2.5-VL-3B-Instruct",
    clip: str = "openai/clip-vit-large-patch14",
    images: Path | None = None,
    labels: list[str] | None = None,
    prompts: dict[str, list[str]] | None = None,
    with_text: str = RUSSIAN_WITH_TEXT,
    device: Device = "cuda",
    load_in_4bit: bool = False,
    max_pixels: int | None = 1_003_520,
    chunk_size: int = 50,
    pictures: int = 100,
    chunks: list[int] | None = None,
    force: bool = False,
    name: str = "",
    restarts: int = 0,
) -> Path:
    """Classify memes without training, with a VLM and with CLIP, and compare both. Retry does only what is missing.

    Args:
        table: The table of read-memes: a path, or a name such as "memes" in tables/memes.parquet.
        vlm: A vision-language model: a folder, or its id on huggingface.co.
        clip: A CLIP: a folder, or its id on huggingface.co.
        images: The folder that the table's paths are below; the one that was read when empty.
        labels: The classes, such as ["toxic", "non_toxic"]; the table's own when empty.
        prompts: Texts per class for CLIP, such as {"toxic": ["токсичный мем"]}; several are averaged. Empty: Russian.
        with_text: How the text on an image joins each of these texts.
        device: cuda, or cpu where there is no GPU: slow with a model of true size.
        load_in_4bit: Load the VLM in 4 bits: a third of the memory, other answers.
        max_pixels: An image is made smaller for the VLM until it has no more; 28 x 28 are one token.
        chunk_size: Images per chunk; another size is another job.
        pictures: Memes on the report's page at most, the worst disagreements first.
        chunks: Numbers of the chunks to do; all that are missing when empty.
        force: Do these chunks again although they are done.
        name: Stem of the tables; the table's own with "-classified" when empty.
        restarts: Counted by the automation that starts a crashed run again; leave it 0.

    Returns:
        The report's folder; the CLIP job's while chunks are missing because only some were asked for.
    """
    check_name(name or "memes-classified")
    of_vlm = {"model": vlm, "load_in_4bit": load_in_4bit, "max_pixels": max_pixels}
    of_clip = {"model": clip, "prompts": prompts, "with_text": with_text}
    jobs = plan_classifying(table, of_vlm, of_clip, images, labels, device, chunk_size, name, restarts)
    with working_on(jobs.vlm.folder, open_vlm), working_on(jobs.clip.folder, open_clip):
        missing = run_chunks(ask_vlm, jobs.vlm, VLM_ANSWERS, chunks, force, restarts)
        open_vlm.close()  # the two together may not fit on one GPU
        missing += run_chunks(ask_clip, jobs.clip, CLIP_ANSWERS, chunks, force, restarts)
        if missing:
            return jobs.clip.folder
        tables = collect_classified(jobs)
        return report_classified(tables, pictures)
