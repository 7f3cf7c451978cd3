"""The shape of every table. A column is added here first.

One row of ``TRANSLATIONS``, as a chunk holds it::

    row 17 | id "000000033471" | image "000000033471.jpg" | conversations [{from: human, value: …}, …] | extra null |
    translated [{from: human, value: …}, …] | translator ["google/4.0.2", "memory"] | checks ["seam"] |
    turn_checks [[], ["seam"]] | error null | cost_usd 0.0 | message null | record '{"id": …}'
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TURNS = pa.list_(pa.struct([pa.field("from", pa.string()), pa.field("value", pa.string())]))
CODES = pa.list_(pa.string())


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table's declared shape: its name, its version and its columns."""

    name: str
    columns: pa.Schema


_ROW = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("id", pa.string()),
    pa.field("image", pa.string()),
    pa.field("conversations", TURNS),
]
_EXTRA = pa.field("extra", pa.string())
_TRANSLATED = [
    pa.field("translated", TURNS),
    pa.field("translator", CODES),
    pa.field("checks", CODES),
    pa.field("turn_checks", pa.list_(CODES)),
    pa.field("error", pa.string()),
    pa.field("cost_usd", pa.float64()),  # null where the row could not be read
]
_MESSAGE = pa.field("message", pa.string())

# What a job reads: the source's good rows, one row group per chunk.
CONVERSATIONS = TableSchema("conversations/1", pa.schema([*_ROW, _EXTRA]))

# A chunk: delivered rows in the first row group, refused ones in the next. `record` is the finished row in LLaVA's own
# layout, so that collecting 157,712 rows joins bytes instead of building them again (docs/decisions.md, "Collect").
TRANSLATIONS = TableSchema(
    "translations/3", pa.schema([*_ROW, _EXTRA, *_TRANSLATED, _MESSAGE, pa.field("record", pa.string())])
)

# What a user gets.
LLAVA = TableSchema("llava/2", pa.schema([*_ROW, *_TRANSLATED, _EXTRA]))

# Every row that is not there, with its reason. `raw` is the row as received where it could not be read.
LLAVA_REJECTED = TableSchema(
    "llava-rejected/2", pa.schema([*_ROW, *_TRANSLATED, _EXTRA, _MESSAGE, pa.field("raw", pa.string())])
)

# What people reviewed. Every version of every answer that was ever seen, by id and time; nothing is taken out.
_TIME = pa.timestamp("us", "UTC")
RESPONSES = TableSchema(
    "responses/1",
    pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("record", pa.string(), nullable=False),
            pa.field("row", pa.int64(), nullable=False),
            pa.field("turn", pa.int64(), nullable=False),
            pa.field("part", pa.string()),
            pa.field("original", pa.string()),
            pa.field("machine", pa.string()),
            pa.field("translator", pa.string()),
            pa.field("codes", CODES),
            pa.field("user", pa.string(), nullable=False),
            pa.field("role", pa.string()),
            pa.field("status", pa.string(), nullable=False),
            pa.field("text", pa.string()),
            pa.field("verdict", pa.string()),
            pa.field("kinds", CODES),
            pa.field("note", pa.string()),
            pa.field("inserted_at", _TIME, nullable=False),
            pa.field("updated_at", _TIME, nullable=False),
            pa.field("origin", pa.string(), nullable=False),
        ]
    ),
)

# The delivered rows again, with people's texts in `translated`. Per turn: where its text comes from (machine, accepted,
# edited, adjudicate), by whom, when.
REVIEWED = TableSchema(
    "llava-reviewed/2",
    pa.schema(
        [
            *LLAVA.columns,
            pa.field("text_from", CODES),
            pa.field("reviewed_by", pa.list_(CODES)),
            pa.field("reviewed_at", pa.list_(_TIME)),
        ]
    ),
)

# What reviewers have left to do: turns to adjudicate, and broken corrections, with the reason and what people gave.
REVIEW_OPEN = TableSchema(
    "review-open/1",
    pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),
            pa.field("turn", pa.int64(), nullable=False),
            pa.field("what", pa.string(), nullable=False),  # adjudicate or broken
            pa.field("reason", pa.string(), nullable=False),
            pa.field("original", pa.string()),
            pa.field("machine", pa.string()),
            pa.field(
                "candidates",
                pa.list_(
                    pa.struct(
                        [
                            pa.field("text", pa.string()),
                            pa.field("by", CODES),
                            pa.field("verdicts", CODES),
                            pa.field("notes", CODES),
                        ]
                    )
                ),
            ),
        ]
    ),
)

# What people settled, as a translation memory: the next translation of an equal text is theirs.
CORRECTIONS = TableSchema(
    "corrections/1",
    pa.schema(
        [
            pa.field("source", pa.string(), nullable=False),
            pa.field("target", pa.string(), nullable=False),
            pa.field("how", pa.string(), nullable=False),  # accepted, edited, or tmx
            pa.field("by", CODES),
            pa.field("at", _TIME),
            pa.field("origin", pa.string(), nullable=False),  # a dataset, or the name of a TMX file
            pa.field("row", pa.int64()),
            pa.field("turn", pa.int64()),
        ]
    ),
)

# Tweets or memes with the labels of annotators: MMHS150K, the predecessor's CSVs, Hateful Memes. `votes` is what each
# annotator said, where the source tells; `ocr` the text in the image as the data set's makers read it; `sha256` of the
# image's bytes, where images came with the data set.
_TWEET = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("id", pa.string()),
    pa.field("image", pa.string()),
    pa.field("sha256", pa.string()),
    pa.field("text", pa.string()),
    pa.field("ocr", pa.string()),
    pa.field("votes", CODES),
    pa.field("labels", CODES),
    pa.field("split", pa.string()),
    _EXTRA,
]
MMHS = TableSchema("mmhs/2", pa.schema(_TWEET))
MMHS_REJECTED = TableSchema(
    "mmhs-rejected/1",
    pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),
            pa.field("id", pa.string()),
            pa.field("split", pa.string()),
            pa.field("error", pa.string(), nullable=False),
            pa.field("message", pa.string(), nullable=False),
            pa.field("raw", pa.string()),
        ]
    ),
)

# Memes. What a job reads: images by position, path below the folder, and the SHA-256 that names them.
_FILE = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("path", pa.string()),
    pa.field("sha256", pa.string()),
    pa.field("bytes", pa.int64()),
    pa.field("label", pa.string()),
]
MEME_FILES = TableSchema("meme-files/1", pa.schema(_FILE))

# What a user gets. Boxes are pixels of the upright image, confidences 0 to 100; `text` is empty where there is none.
_LINES = pa.list_(
    pa.struct(
        [
            pa.field("text", pa.string()),
            pa.field("left", pa.int32()),
            pa.field("top", pa.int32()),
            pa.field("right", pa.int32()),
            pa.field("bottom", pa.int32()),
            pa.field("confidence", pa.float64()),
        ]
    )
)
_READING = [
    pa.field("format", pa.string()),
    pa.field("changes", CODES),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("phash", pa.string()),
    pa.field("text", pa.string()),
    pa.field("lines", _LINES),
    pa.field("confidence", pa.float64()),
    pa.field("reader", pa.string()),
]
_WHY = [pa.field("error", pa.string()), _MESSAGE]
MEMES = TableSchema("memes/1", pa.schema([*_FILE, *_READING]))
MEME_READINGS = TableSchema("meme-readings/1", pa.schema([*_FILE, *_READING, *_WHY]))  # a chunk
MEMES_REJECTED = TableSchema("memes-rejected/1", pa.schema([*_FILE, *_WHY]))

# Memes before models without training. What a job reads: every image of a table of memes by its position there, and
# the text that was read on it. Labels are no part of a job: one that is corrected asks no model again.
_IMAGE = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("sha256", pa.string(), nullable=False),
]
_TO_CLASSIFY = [*_IMAGE, pa.field("text", pa.string())]
MEMES_TO_CLASSIFY = TableSchema("memes-to-classify/1", pa.schema(_TO_CLASSIFY))
MEMES_UNCLASSIFIED = TableSchema("memes-unclassified/1", pa.schema([*_IMAGE, pa.field("label", pa.string()), *_WHY]))

# Probabilities stand in the order of the job's labels. `vlm_valid` is the share of all that the model could have said that
# these labels make up; `explanation` was written after the answer was fixed. Of the image's `words` CLIP could take
# `words_used`. `eigen` and `grad` are heat maps over the patches, row by row from the top, of the part of the image that
# `seen` gives in pixels.
_PROBABILITIES = pa.list_(pa.float64())
_OF_VLM = [
    pa.field("vlm_answer", pa.string()),
    pa.field("vlm_probabilities", _PROBABILITIES),
    pa.field("vlm_valid", pa.float64()),
    pa.field("explanation", pa.string()),
]
_OF_CLIP = [
    pa.field("clip_answer", pa.string()),
    pa.field("clip_probabilities", _PROBABILITIES),
    pa.field("clip_text_answer", pa.string()),
    pa.field("clip_text_probabilities", _PROBABILITIES),
    pa.field("words", pa.int32()),
    pa.field("words_used", pa.int32()),
    pa.field("seen", pa.list_(pa.float64())),  # left, top, right, bottom
    pa.field("eigen", pa.list_(pa.float32())),
    pa.field("grad", pa.list_(pa.float32())),
]
VLM_ANSWERS = TableSchema("vlm-answers/1", pa.schema([*_TO_CLASSIFY, *_OF_VLM, *_WHY]))  # a chunk
CLIP_ANSWERS = TableSchema("clip-answers/1", pa.schema([*_TO_CLASSIFY, *_OF_CLIP, *_WHY]))  # a chunk

# What a user gets.
MEMES_CLASSIFIED = TableSchema(
    "memes-classified/1", pa.schema([*_TO_CLASSIFY, pa.field("label", pa.string()), *_OF_VLM, *_OF_CLIP])
)

# Rows of a split that a job shows to a model, one row group per chunk.
EXAMPLES = TableSchema(
    "examples/1",
    pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),
            pa.field("id", pa.string()),
            pa.field("text", pa.string(), nullable=False),
            pa.field("image", pa.string(), nullable=False),
            pa.field("labels", CODES),
            pa.field("group", pa.string(), nullable=False),
        ]
    ),
)

# What a model answers to the rows of a split. `log_probabilities` stand in the order of the job's label sets, `valid` is
# the share of all answers that these sets make up, `answer` the likeliest set. In generate mode `generated` is what the
# model wrote, `answer` what was read from it, null where nothing could be, and there are no probabilities.
PREDICTIONS = TableSchema(
    "predictions/1",
    pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),
            pa.field("id", pa.string()),
            pa.field("group", pa.string(), nullable=False),
            pa.field("labels", CODES),
            pa.field("log_probabilities", pa.list_(pa.float64())),
            pa.field("valid", pa.float64()),
            pa.field("answer", CODES),
            pa.field("generated", pa.string()),
            *_WHY,
        ]
    ),
)

# Rows of a dataset that a model is trained and chosen on, with what their images were when they were opened before.
TRAINING_EXAMPLES = TableSchema(
    "training-examples/1",
    pa.schema(
        [
            pa.field("split", pa.string(), nullable=False),
            pa.field("row", pa.int64(), nullable=False),
            pa.field("id", pa.string()),
            pa.field("image", pa.string()),
            pa.field("sha256", pa.string()),
            *_WHY,
        ]
    ),
)

# Transcripts. What extracting reads: windows of routines, one row group per chunk. Positions count a transcript's words.
_SPAN = [
    pa.field("first_word", pa.int64()),
    pa.field("stop_word", pa.int64()),
    pa.field("start", pa.float64()),  # seconds
    pa.field("end", pa.float64()),
]
_WINDOW = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("routine", pa.string(), nullable=False),
    pa.field("window", pa.int64()),
    *_SPAN,
]
WINDOWS = TableSchema("windows/1", pa.schema([*_WINDOW, pa.field("text", pa.string(), nullable=False)]))

# A job's transcripts after merging: a row per segment, so that a joke can be located again.
SEGMENTS = TableSchema(
    "segments/1",
    pa.schema(
        [
            pa.field("routine", pa.string(), nullable=False),
            pa.field("language", pa.string(), nullable=False),
            pa.field("start", pa.float64(), nullable=False),
            pa.field("end", pa.float64(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
        ]
    ),
)

# Jokes as they were extracted: located (`found` is the share of the quote's words that stand there, `text_found` of the
# text's, `invented` says that too few of the quote's do), with what is lost of their accents, and which joke they repeat
# by span or by text. Nothing is dropped.
_EXTRACTED = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("id", pa.string(), nullable=False),
    pa.field("routine", pa.string(), nullable=False),
    pa.field("windows", pa.list_(pa.int64())),
    pa.field("quote", pa.string(), nullable=False),
    pa.field("text", pa.string(), nullable=False),  # corrected by the model; the quote where it gave none
    pa.field("start_mark", pa.string()),
    pa.field("end_mark", pa.string()),
    *_SPAN,
    pa.field("found", pa.float64()),
    pa.field("text_found", pa.float64()),
    pa.field("invented", pa.bool_(), nullable=False),
    pa.field("words", pa.int64(), nullable=False),
    pa.field("damaged_words", pa.int64(), nullable=False),
    pa.field("duplicate_of", pa.string()),
    pa.field("near_duplicate_of", pa.string()),
    pa.field("extracted_by", pa.string()),
    pa.field("extract_usd", pa.float64(), nullable=False),
]
JOKES_EXTRACTED = TableSchema("jokes-extracted/1", pa.schema(_EXTRACTED))

# A chunk of extracting: every window with the jokes that were found in it, in order. A window that did not fit into one
# answer was asked in parts, `questions` in all; where a part failed, `error` and `message` stand beside the others' jokes.
_QUOTED = pa.list_(
    pa.struct(
        [
            pa.field("quote", pa.string()),
            pa.field("start_mark", pa.string()),
            pa.field("end_mark", pa.string()),
            pa.field("text", pa.string()),
        ]
    )
)
WINDOW_JOKES = TableSchema(
    "window-jokes/1",
    pa.schema(
        [
            *WINDOWS.columns,
            pa.field("jokes", _QUOTED),
            pa.field("questions", pa.int32()),
            pa.field("extracted_by", pa.string()),
            pa.field("cost_usd", pa.float64()),
            *_WHY,
        ]
    ),
)

# Routines that could not be read, and windows of which a part or all was not answered.
JOKES_REJECTED = TableSchema("jokes-rejected/1", pa.schema([*_WINDOW, pa.field("cost_usd", pa.float64()), *_WHY]))


def _step(name: str, *answer: pa.Field) -> list[pa.Field]:
    """A step's answer, who gave it to which prompt, what it cost, and why there is none; null where nobody was asked."""
    return [
        *answer,
        pa.field(f"{name}_by", pa.string()),
        pa.field(f"{name}_prompt", pa.string()),
        pa.field(f"{name}_usd", pa.float64()),
        pa.field(f"{name}_error", pa.string()),
    ]


_NODES = pa.list_(pa.struct([pa.field("id", pa.int64()), pa.field("label", pa.string())]))
_EDGES = pa.list_(
    pa.struct([pa.field("source", pa.int64()), pa.field("target", pa.int64()), pa.field("label", pa.string())])
)
_REFINED = [
    *_EXTRACTED,
    *_step("levels", pa.field("nodes", _NODES), pa.field("edges", _EDGES), pa.field("levels", pa.int32())),
    *_step("keywords", pa.field("keywords", CODES)),
    *_step(
        "refinement",
        pa.field("corrected_text", pa.string()),
        pa.field("corrected_keywords", CODES),
        pa.field("quality", pa.string()),
    ),
    *_step("rewrite", pa.field("rewritten_text", pa.string())),
]
JOKES_REFINED = TableSchema("jokes-refined/1", pa.schema(_REFINED))  # a chunk of refining

# What a user gets: every joke that was found. `keep` is the funnel's word, `reason` the stage that put the joke out; what
# is kept has the `keyword` that it is asked for by, and `messages` as a chat model is trained on.
_CHAT = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
JOKES = TableSchema(
    "jokes/1",
    pa.schema(
        [
            *_REFINED,
            pa.field("keep", pa.bool_(), nullable=False),
            pa.field("reason", pa.string()),
            pa.field("keyword", pa.string()),
            pa.field("messages", _CHAT),
            pa.field("cost_usd", pa.float64(), nullable=False),
        ]
    ),
)

# Jokes compared. What the contestants are asked, and what they wrote: no `text` where there is none, with its reason.
_REQUEST = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("split_row", pa.int64(), nullable=False),
    pa.field("id", pa.string(), nullable=False),
    pa.field("group", pa.string(), nullable=False),
    pa.field("messages", _CHAT, nullable=False),
]
REQUESTS = TableSchema("requests/1", pa.schema(_REQUEST))
WRITTEN = TableSchema(
    "written/1",
    pa.schema(
        [
            *_REQUEST,
            pa.field("text", pa.string()),
            pa.field("written_by", pa.string(), nullable=False),
            pa.field("prompt_tokens", pa.int64(), nullable=False),
            pa.field("completion_tokens", pa.int64(), nullable=False),
            pa.field("cost_usd", pa.float64(), nullable=False),
            *_WHY,
        ]
    ),
)

# Pairs to judge, and judged. `said_a_first` is what the judge said with A's text first and `said_b_first` with B's: in both
# "A" is the text that stood first. `settled` says why a pair was not asked about, `error` why it could not be judged.
_PAIR = [
    pa.field("row", pa.int64(), nullable=False),
    pa.field("split_row", pa.int64(), nullable=False),
    pa.field("id", pa.string(), nullable=False),
    pa.field("group", pa.string(), nullable=False),
    pa.field("request", pa.string(), nullable=False),
    pa.field("text_a", pa.string()),
    pa.field("text_b", pa.string()),
    pa.field("error_a", pa.string()),
    pa.field("error_b", pa.string()),
]
_JUDGED = [
    *_PAIR,
    pa.field("verdict", pa.string(), nullable=False),
    pa.field("settled", pa.string()),
    pa.field("said_a_first", pa.string()),
    pa.field("said_b_first", pa.string()),
    pa.field("reason_a_first", pa.string()),
    pa.field("reason_b_first", pa.string()),
    pa.field("judged_by", pa.string(), nullable=False),
    pa.field("judge_usd", pa.float64(), nullable=False),
    *_WHY,
]
PAIRS = TableSchema("pairs/1", pa.schema(_PAIR))
PAIRS_JUDGED = TableSchema("pairs-judged/1", pa.schema(_JUDGED))

# What a user gets: every pair, also those that could not be judged.
COMPARED = TableSchema(
    "compared/1",
    pa.schema(
        [
            *_JUDGED,
            pa.field("model_a", pa.string(), nullable=False),
            pa.field("model_b", pa.string(), nullable=False),
            pa.field("written_by_a", pa.string(), nullable=False),
            pa.field("written_by_b", pa.string(), nullable=False),
            pa.field("write_a_usd", pa.float64(), nullable=False),
            pa.field("write_b_usd", pa.float64(), nullable=False),
        ]
    ),
)

SCHEMAS = {
    schema.name: schema
    for schema in (
        CONVERSATIONS,
        TRANSLATIONS,
        LLAVA,
        LLAVA_REJECTED,
        RESPONSES,
        REVIEWED,
        REVIEW_OPEN,
        CORRECTIONS,
        MMHS,
        MMHS_REJECTED,
        MEME_FILES,
        MEMES,
        MEME_READINGS,
        MEMES_REJECTED,
        MEMES_TO_CLASSIFY,
        MEMES_UNCLASSIFIED,
        VLM_ANSWERS,
        CLIP_ANSWERS,
        MEMES_CLASSIFIED,
        EXAMPLES,
        PREDICTIONS,
        TRAINING_EXAMPLES,
        WINDOWS,
        SEGMENTS,
        JOKES_EXTRACTED,
        WINDOW_JOKES,
        JOKES_REJECTED,
        JOKES_REFINED,
        JOKES,
        REQUESTS,
        WRITTEN,
        PAIRS,
        PAIRS_JUDGED,
        COMPARED,
    )
}
