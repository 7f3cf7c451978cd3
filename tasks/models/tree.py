"""The exact probability of every allowed answer: one forward of the prompts, one of a tree of all answers.

Answers that begin alike share their beginnings, and every token sees the prompt and its own ancestors alone::

    prompt ── [" ─┬─ racist ─┬─ "] ─ end                 the four answers over ["racist", "sexist"]:
           │      │          └─ ", " ─ sexist ─ "] ─ end      edges are next tokens, each with its log-probability;
           │      └─ sexist ─── "] ─ end                      an answer's is the sum along its path
           └─ [] ─ end

Nothing is generated and nothing is parsed. What the model itself computes is used as it comes out of its ``forward``,
soft caps of the logits included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tasks.models.families.protocol import Family
from tasks.models.label_sets import LabelSets
from tasks.storage.errors import PermanentError

if TYPE_CHECKING:
    from PIL.Image import Image

CHECKED = 32  # answers that a self-check goes through one by one
_MARGIN = 8  # times the rounding that was seen


class ScorerDisagrees(PermanentError):
    """The tree gives other probabilities than the answers one at a time."""


class PromptTooLong(PermanentError):
    """Prompts of a batch that the model has no room for.

    Attributes:
        at: Their numbers within the batch.
    """

    def __init__(self, at: Sequence[int], most: int) -> None:
        super().__init__(f"has a prompt of more than {most:,} tokens, which is all that the model has room for.")
        self.at = tuple(at)


class AnswerTree:
    """The answers of a label set as the tokens of a family.

    Attributes:
        sequences: The tokens of each answer, in the order of the sets, the one that ends it last.

    Raises:
        PermanentError: Two answers are the same tokens, or a label holds a special token.
    """

    def __init__(self, label_sets: LabelSets, family: Family) -> None:
        answers = [label_sets.answer(number) for number in range(len(label_sets.sets))]
        self.sequences = [family.answer_tokens(answer) for answer in answers]
        nodes: dict[tuple[int, ...], int] = {}  # the path to a token that is fed, the last of each answer is not
        edges: dict[tuple[int, ...], int] = {}  # the path to a token that is predicted
        for tokens in self.sequences:
            for length in range(1, len(tokens) + 1):
                edges.setdefault(tuple(tokens[:length]), len(edges))
                if length < len(tokens):
                    nodes.setdefault(tuple(tokens[:length]), len(nodes))
        ends = {tuple(tokens) for tokens in self.sequences}
        if len(ends) != len(answers) or ends & nodes.keys():
            raise PermanentError(f"The model's tokens cannot tell all answers apart: {', '.join(answers)}.")
        self.tokens = torch.tensor([path[-1] for path in nodes])
        self.depth = torch.tensor([len(path) - 1 for path in nodes])
        self.ancestors = torch.eye(len(nodes), dtype=torch.bool)
        for path, number in nodes.items():
            if len(path) > 1:
                self.ancestors[number] |= self.ancestors[nodes[path[:-1]]]
        # Row 0 of the logits is the prompt's last token, row n + 1 the tree's token n.
        self.source = torch.tensor([nodes[path[:-1]] + 1 if len(path) > 1 else 0 for path in edges])
        self.target = torch.tensor([path[-1] for path in edges])
        self.paths = torch.zeros(len(answers), len(edges), dtype=torch.float64)
        for number, tokens in enumerate(self.sequences):
            for length in range(1, len(tokens) + 1):
                self.paths[number, edges[tuple(tokens[:length])]] = 1

    @property
    def longest(self) -> int:
        """Tokens of the longest answer."""
        return max(map(len, self.sequences))


@torch.inference_mode()
def score(model: Any, family: Family, inputs: dict[str, Tensor], tree: AnswerTree) -> Tensor:
    """Score every answer exactly.

    Args:
        model: A model of the family, with or without an adapter, in evaluation mode.
        family: Where positions come from.
        inputs: What ``family.inputs`` gave, on any device.
        tree: The answers.

    Returns:
        ``[B, S]``, float64, on the CPU: log p(answer and its end | prompt). Their exp sums to at most 1, to what free
        writing would give to these answers.

    Raises:
        PromptTooLong: A prompt and its answer go beyond the model's positions or its sliding window.
        torch.OutOfMemoryError: The batch is too large.
    """
    base = _base(model)
    # Within its window a sliding attention is a plain one; beyond, the mask of the tree would not be the model's own.
    check_room(base, inputs["attention_mask"], tree.longest, "max_position_embeddings", "sliding_window")
    inputs = {name: value.to(base.device) for name, value in inputs.items()}
    seen = inputs["attention_mask"].bool()
    positions, after = family.positions(base, inputs)
    prompt = base(**inputs, position_ids=positions, use_cache=True, logits_to_keep=1)
    rows, nodes = len(seen), len(tree.tokens)
    ancestors = tree.ancestors.to(base.device).expand(rows, nodes, nodes)
    visible = torch.cat([seen[:, None].expand(rows, nodes, -1), ancestors], -1)[:, None]
    # Additive and with four axes: transformers hands it to every attention as it is.
    mask = torch.zeros(visible.shape, dtype=base.dtype, device=base.device)
    mask.masked_fill_(~visible, torch.finfo(base.dtype).min)
    places = after[:, None] + tree.depth.to(base.device)
    answers = base(
        input_ids=tree.tokens.to(base.device).expand(rows, nodes),
        attention_mask=mask,
        position_ids=places.expand(len(positions), -1, -1) if positions.ndim == 3 else places,
        past_key_values=prompt.past_key_values,
        use_cache=True,
    )
    source, target = tree.source.to(base.device), tree.target.to(base.device)
    edges = []
    for first, rest in zip(prompt.logits, answers.logits, strict=True):  # one row at a time in float32: 257,216 words
        logits = torch.cat([first, rest]).float()
        edges.append(logits[source, target] - logits.logsumexp(-1)[source])
    return torch.stack(edges).double().cpu() @ tree.paths.T


@torch.inference_mode()
def teacher_forced(
    model: Any, family: Family, inputs: dict[str, Tensor], tree: AnswerTree, sets: Sequence[int] | None = None
) -> Tensor:
    """The same as ``score``, one answer after the other, by nothing but the model's own masks and positions.

    Args:
        model: See ``score``.
        family: Puts answers behind prompts.
        inputs: See ``score``.
        tree: The answers.
        sets: Which of them; None for all.

    Returns:
        ``[B, len(sets)]``, float64.
    """
    base = _base(model)
    rows, columns = len(inputs["input_ids"]), []
    for number in range(len(tree.sequences)) if sets is None else sets:
        tokens = torch.tensor(tree.sequences[number]).expand(rows, -1)
        batch = family.extended(inputs, tokens, torch.ones_like(tokens))
        batch = {name: value.to(base.device) for name, value in batch.items()}
        logits = base(**batch, use_cache=False, logits_to_keep=tokens.shape[1] + 1).logits[:, :-1].float()
        chosen = logits.log_softmax(-1).gather(-1, tokens[..., None].to(base.device))
        columns.append(chosen.double().sum((1, 2)).cpu())
    return torch.stack(columns, 1)


def self_check(
    model: Any, family: Family, texts: Sequence[str], images: Sequence[Image | None], tree: AnswerTree
) -> float:
    """Score some rows both ways; at least two of different length, since padding is where they would differ.

    In bfloat16 two right ways to compute the same differ as well. So the difference is held against that between the
    answers one by one in a batch and alone.

    Returns:
        The largest difference between two log-probabilities.

    Raises:
        ScorerDisagrees: It is larger than rounding explains. The versions of torch or transformers do not fit.
    """
    every = len(tree.sequences)
    sets = sorted({round(at * (every - 1) / (CHECKED - 1)) for at in range(CHECKED)})
    inputs = family.inputs(texts, images)
    forced = teacher_forced(model, family, inputs, tree, sets)
    alone = [family.inputs([text], [image]) for text, image in zip(texts, images, strict=True)]
    rounding = torch.cat([teacher_forced(model, family, row, tree, sets) for row in alone]) - forced
    difference = float((score(model, family, inputs, tree)[:, sets] - forced).abs().max())
    dtype = _base(model).dtype
    least, most = (1e-4, 1e-3) if dtype == torch.float32 else (1e-2, 1.0)
    allowed = min(max(least, _MARGIN * float(rounding.abs().max())), most)
    if not difference <= allowed:
        import transformers

        raise ScorerDisagrees(
            f"Scores of {family.name} differ by {difference:.2g} from those of the answers one by one; rounding of "
            f"{dtype} explains {allowed:.2g}. torch {torch.__version__} and transformers {transformers.__version__} do "
            "not fit together here: install the versions of constraints.txt."
        )
    return difference


def check_room(model: Any, mask: Tensor, more: int, *limits: str) -> None:
    """Refuse prompts that leave no room for ``more`` tokens.

    Args:
        model: The model.
        mask: ``[B, P]`` of the prompts.
        more: Tokens behind them.
        limits: Which of its configuration's numbers hold; one that it does not have holds nothing.

    Raises:
        PromptTooLong: And which.
    """
    config = model.config.get_text_config()
    most = min(limit for name in limits if (limit := getattr(config, name, None))) - more
    if long := (mask.sum(-1) > most).nonzero().flatten().tolist():
        raise PromptTooLong(long, most)


def _base(model: Any) -> Any:
    """The model itself; an adapter's layers stay in it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
