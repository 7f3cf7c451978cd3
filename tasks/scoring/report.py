"""How good a model is, for people and for programs.

::

    reports/evaluate-mmhs-3f2a9c01d7b4/report.html      tables, plots and worst errors in one file that needs no network
                                       report.json      the same figures
                                       thresholds.json  those that the adapter's figures were made with

Equal predictions give equal bytes. Every figure has its n, its interval, the rule that made labels of probabilities, and
stands beside what looking at nothing, at the text alone, or at what others published reaches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tasks.pages.drawn import write_page
from tasks.pages.page import Page, Pictures, Plot, Section, Table
from tasks.pages.plots import curves
from tasks.pages.words import markdown_table
from tasks.scoring import metrics
from tasks.scoring.figures import NAMES, OWN_RULE, VERSION, measure
from tasks.scoring.intervals import Groups
from tasks.scoring.predictions import REASONS, Predictions
from tasks.scoring.published import Published, published_for
from tasks.scoring.thresholds import Thresholds, threshold_curve
from tasks.scoring.verdict import Metric, Verdict, compare
from tasks.stats.intervals import clustered
from tasks.storage.errors import PermanentError
from tasks.storage.files import write_bytes

_POINTS = 100  # of a curve

Curve = tuple[list[float], list[float]]


class CountsDiffer(PermanentError):
    """Rows in are not rows scored plus rows rejected."""


@dataclass(frozen=True)
class Model:
    """One way to answer, as a row of the table.

    Args:
        name: As tables call it.
        kind: adapter, previous, base, ablation, written, baseline, or constant: a baseline that looks at nothing.
        predictions: Of the split that is reported.
        thresholds: Tuned for it on validation.
        note: What a reader has to know of it.
    """

    name: str
    kind: str
    predictions: Predictions
    thresholds: Thresholds
    note: str = ""


@dataclass(frozen=True)
class Evaluation:
    """What is reported.

    Args:
        title: The adapter's name.
        split: Which one.
        rows: How many it has.
        adapter: What this is about.
        others: What stands beside it; asked for once, one after the other, so that no more than two are in memory.
        validation: The adapter's predictions that thresholds were tuned on; None without such a split.
        versions: What was done with what: dataset, split's SHA-256, prompt, adapter, transformers and more, by name.
        verdict: Against the previous adapter, where there is one.
        metric: What the differences are of.
        worst: Pictures of the worst errors, each with its words.
        notes: What a reader has to know of the whole.
        reasons: What codes of rejected rows mean.
        toy: Whether the base is a tiny random model.
    """

    title: str
    split: str
    rows: int
    adapter: Model
    others: Iterable[Model]
    validation: Predictions | None
    versions: Mapping[str, str]
    verdict: Verdict | None = None
    metric: Metric = "f1_micro"
    worst: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    toy: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What was written, and the short form."""

    folder: Path
    html: Path
    markdown: str


def worst_rows(predictions: Predictions, most: int = 12) -> list[tuple[int, str]]:
    """Rows that a model is wrong about and most sure of.

    Returns:
        Position in the split, and truth, answer and probabilities in words.
    """
    space, chosen = predictions.space, predictions.answer != predictions.truth
    wrong = np.flatnonzero(chosen)
    shares = predictions.scored
    first = wrong[np.argsort(shares.of_truth[wrong], kind="stable")[:most]]

    def words(at: int) -> str:
        said, right = (
            ", ".join(space.sets[each]) or "none" for each in (predictions.answer[at], predictions.truth[at])
        )
        return f"says {said} ({shares.highest[at]:.2f}), is {right} ({shares.of_truth[at]:.2g})"

    return [(int(predictions.rows[at]), words(at)) for at in first]


def write_report(folder: Path, evaluation: Evaluation) -> Report:
    """Write the report; one that is there and would be the same is left alone.

    Raises:
        CountsDiffer: A model was not scored on every row, or on a row twice; nothing is written.
        DiskFull: No room; the old report is untouched.
    """
    figures = _figures(evaluation)
    write_bytes(folder / "report.json", json.dumps(figures, indent=1, ensure_ascii=False).encode())
    curve = _threshold_curve(evaluation.validation) if evaluation.validation else None
    made_of = json.dumps([figures, curve, list(evaluation.worst)])
    html = write_page(folder / "report.html", made_of, Path(__file__).parent, lambda: _page(figures, evaluation, curve))
    return Report(folder, html, _markdown(figures, html))


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    adapter = evaluation.adapter
    models: dict[str, Any] = {}
    for model in chain([adapter], evaluation.others):
        _check_rows(model, evaluation)
        found = measure(model.predictions, model.thresholds)
        models[model.name] = {
            "kind": model.kind,
            "note": model.note,
            "thresholds": {"overall": model.thresholds.overall, "tuned_on_rows": model.thresholds.rows},
            **found,
            "rejected": dict(model.predictions.rejected.most_common()),
            **({"unread": _unread(model.predictions)} if model.predictions.probabilities is None else {}),
            **({"valid": _valid(model.predictions)} if model.kind not in ("baseline", "constant", "written") else {}),
        }
        if model is not adapter:
            ours, theirs = ((each.predictions, each.thresholds) for each in (adapter, model))
            apart = compare(ours, theirs, evaluation.metric).plain()
            models[model.name]["adapter_is_better_by"] = apart["differences"][evaluation.metric]
    return {
        "title": evaluation.title,
        "toy": evaluation.toy,
        "split": evaluation.split,
        "rows": evaluation.rows,
        "scored": len(adapter.predictions),
        "metric": evaluation.metric,
        "notes": list(evaluation.notes),
        "versions": {**evaluation.versions, "metrics": VERSION},
        "verdict": evaluation.verdict.plain() if evaluation.verdict else None,
        "models": models,
        "published": [asdict(each) for each in published_for(evaluation.split, adapter.predictions)],
        **({"confusion": _confusion(adapter.predictions)} if adapter.predictions.space.is_single else {}),
        "rejected": {
            code: {"rows": n, "reason": evaluation.reasons.get(code) or REASONS.get(code) or code}
            for code, n in adapter.predictions.rejected.most_common()
        },
    }


def _check_rows(model: Model, evaluation: Evaluation) -> None:
    scored, rejected = len(model.predictions), model.predictions.rejected.total()
    if scored + rejected != evaluation.rows:
        raise CountsDiffer(
            f"{evaluation.split} has {evaluation.rows:,} rows, and {model.name} was scored on {scored:,} and rejected "
            f"{rejected:,}. Nothing was written. Move the job's folder away and run again."
        )


def _unread(predictions: Predictions) -> dict[str, Any]:
    """How many written answers could not be read."""
    failed = predictions.answer < 0
    codes = Groups.of(predictions.groups).codes
    hits, sizes = np.bincount(codes, failed), np.bincount(codes)
    low, high = clustered(hits.tolist(), sizes.tolist())
    return {"rows": int(failed.sum()), "share": float(failed.mean()), "interval_95": [low, high], "n": len(predictions)}


def _valid(predictions: Predictions) -> dict[str, float]:
    return {"mean": float(predictions.valid.mean()), "least": float(predictions.valid.min())}


def _confusion(predictions: Predictions) -> list[list[int]]:
    number = predictions.space.membership.argmax(axis=1)
    answer = np.where(predictions.answer >= 0, number[predictions.answer], -1)
    found: list[list[int]] = metrics.confusion(
        number[predictions.truth], answer, len(predictions.space.labels)
    ).tolist()
    return found


def _page(figures: Mapping[str, Any], evaluation: Evaluation, curve: Curve | None) -> Page:
    mine = figures["models"][evaluation.adapter.name]
    single = evaluation.adapter.predictions.space.is_single
    first = ("subset_accuracy", "f1_macro") if single else ("f1_micro", "f1_macro", "subset_accuracy")
    return Page(
        ("Toy model: " if evaluation.toy else "") + f"{evaluation.title} on {evaluation.split}",
        facts={
            **{_name(name, single): _value(mine["metrics"][name]) for name in first},
            "Rows": figures["rows"],
            "Scored": figures["scored"],
            "Rejected": figures["rows"] - figures["scored"],
            **({"Verdict": figures["verdict"]["outcome"]} if figures["verdict"] else {}),
        },
        sections=list(_sections(figures, evaluation, curve)),
    )


def _sections(figures: Mapping[str, Any], evaluation: Evaluation, curve: Curve | None) -> Iterator[Section]:
    adapter = evaluation.adapter
    mine = figures["models"][adapter.name]
    single = adapter.predictions.space.is_single
    if evaluation.toy:
        yield Section(
            "A toy model", "Its base is tiny and random. These figures show that the walk works, and nothing else."
        )
    if figures["notes"]:
        yield Section("To know first", "\n\n".join(figures["notes"]))
    if evaluation.verdict:
        yield _verdict(figures["verdict"], str(evaluation.verdict))
    yield _all_models(figures, single)
    if not single:
        yield _rules(mine)
    yield _labels(mine, figures.get("confusion"))
    yield Section("Are the probabilities right?", _calibration_words(mine), list(_calibration(mine)))
    if evaluation.validation is not None and curve is not None and not single:
        yield Section(
            "Thresholds",
            f"F1 micro on the {len(evaluation.validation):,} rows of validation, by the one threshold for all labels. The "
            f"best one, {adapter.thresholds.overall:.3g}, was taken to {evaluation.split} as it was.",
            [curves("F1 micro by threshold, on validation", {"F1 micro": curve}, "threshold", "F1 micro")],
        )
    if evaluation.worst:
        yield Section(
            "Worst errors",
            "Rows whose right answer the model held least likely. They may be hard to look at, and their labels wrong.",
            [Pictures(evaluation.worst)],
        )
    yield _rows(figures)
    yield Section("What was done with what", "", [Table(["", ""], list(figures["versions"].items()))])


def _verdict(verdict: Mapping[str, Any], words: str) -> Section:
    test = verdict["mcnemar"]
    needed = f"about {verdict['rows_needed']:,} rows" if verdict["rows_needed"] else "no number of rows"
    shown = (
        f" So many rows show a difference of {verdict['detectable']:.4f} in {verdict['power']:.0%} of such test sets; for "
        f"the difference that was found, {needed} would do."
        if verdict["detectable"] is not None
        else ""
    )
    return Section(
        f"Verdict: {verdict['outcome']}",
        f"{words}\n\n"
        f"Both models on the same {verdict['n']:,} rows in {verdict['groups']:,} groups. It passes if the whole 95 % "
        f"interval of the difference lies above {verdict['minimal_difference']:+g}, and fails if the whole of it lies "
        f"below.{shown}\n\n"
        f"Exactly right by just one of them: {test['only_new']:,} rows by the new one, {test['only_old']:,} by the old "
        f"one, p = {test['p']:.2g} ({test['how']}).",
        [
            Table(
                ["metric", "new minus old, more is better", "95 % interval"],
                [
                    [NAMES[name], _signed(each["value"]), _ends(each, "+.4f")]
                    for name, each in verdict["differences"].items()
                ],
            )
        ],
    )


def _all_models(figures: Mapping[str, Any], single: bool) -> Section:
    names = ["subset_accuracy", "f1_macro"] if single else list(OWN_RULE)
    names = [*names, "auroc"]
    rows = []
    for model, found in figures["models"].items():
        shown = [name for name in names if name != "auroc" or found["kind"] != "constant"]  # theirs is 0.5 by nature
        cells = [_with_ends(found["metrics"].get(name)) if name in shown else "" for name in names]
        rows.append([model, *cells, _with_ends(found.get("adapter_is_better_by"), "+.4f"), found["n"], found["note"]])
    for each in figures["published"]:
        published = Published(**each)
        values = {"f1_micro": published.f1_micro, "f1_macro": published.f1_macro, "auroc": published.auroc}
        cells = [f"{value:.4f}" if (value := values.get(name)) is not None else "" for name in names]
        rows.append([f"Published: {published.name}", *cells, "", None, published.how])
    rules = "; ".join(f"{NAMES[name]}: {rule}" for name, rule in OWN_RULE.items())
    words = (
        "Each answer is the likeliest class."
        if single
        else f"Each metric under its own rule, tuned on validation. {rules}."
    )
    metric = NAMES[figures["metric"]]
    return Section(
        "All models",
        f"{words} In brackets 95 % intervals by groups of rows that were drawn together; what tuning adds is not in them. "
        f"Published figures were made by others and not checked by us.",
        [
            Table(
                ["model", *(_name(name, single) for name in names), f"adapter is better by, {metric}", "n", ""],
                rows,
            )
        ],
    )


def _rules(mine: Mapping[str, Any]) -> Section:
    rows = [[rule, *(_with_ends(found[name]) for name in OWN_RULE)] for rule, found in mine["every_rule"].items()]
    return Section(
        "The adapter under every rule",
        "The same probabilities; what differs is how labels are made of them.",
        [Table(["rule", *(NAMES[name] for name in OWN_RULE)], rows)],
    )


def _labels(mine: Mapping[str, Any], confusion: Sequence[Sequence[int]] | None) -> Section:
    names = ("precision", "recall", "f1", "auroc", "average_precision")
    labels = mine["labels"]
    tuned = [] if confusion else ["threshold"]  # of classes the likeliest one is taken
    figures = Table(
        ["label", "rows", "groups", *(name.replace("_", " ") for name in names), *tuned],
        [
            [
                label,
                found["rows"],
                found["groups"],
                *(_with_ends(found.get(name)) for name in names),
                *(found.get(name) for name in tuned),
            ]
            for label, found in labels.items()
        ],
    )
    if confusion:
        counts = Table(
            ["is \\ says", *labels],
            [[label, *row] for label, row in zip(labels, confusion, strict=True)],
            "How often each class was taken for each",
        )
    else:
        counts = Table(
            ["label", "is and says", "says only", "is only", "neither"],
            [
                [label, *(found[key] for key in ("hits", "extra", "missed", "neither"))]
                for label, found in labels.items()
            ],
            "Rows by what is true and what is said",
        )
    return Section(
        "Label by label",
        "A label that neither is nor is said has no F1 and is left out of the mean. A label that is true in fewer than a "
        "dozen groups has wide intervals, since so few say little; they hold the truth in 94 to 100 % of such sets. Where "
        "groups say nothing, as one or two do, an interval goes from 0 to 1.",
        [figures, counts],
    )


def _calibration_words(mine: Mapping[str, Any]) -> str:
    told = "; ".join(
        f"{NAMES[name]} {_with_ends(mine['metrics'][name])}" for name in ("calibration_error", "brier", "log_loss")
    )
    valid = mine.get("valid")
    mass = (
        f" The allowed answers make up {valid['mean']:.4f} of all that the model could write on average, "
        f"{valid['least']:.4f} at least."
        if valid
        else ""
    )
    chance = " Chance only adds to a calibration error; its interval allows for that in the widest way."
    return f"{told}, n = {mine['n']:,}.{chance}{mass}"


def _calibration(mine: Mapping[str, Any]) -> Iterator[Plot]:
    bins = mine["reliability"]
    shares = [each["predicted"] for each in bins]
    yield curves(
        "How often what was predicted came true",
        {"came true": (shares, [each["true"] for each in bins]), "if all were right": ([0, 1], [0, 1])},
        "probability that was predicted",
        "share that came true",
    )
    curve = mine["abstention"]
    yield curves(
        "Accuracy when the least sure rows are left to people",
        {"exactly right": ([each["coverage"] for each in curve], [each["accuracy"] for each in curve])},
        "share of rows that the model answers",
        "share exactly right",
    )


def _threshold_curve(validation: Predictions) -> Curve:
    thresholds, f1 = threshold_curve(validation.true_labels.ravel(), validation.marginals.ravel())
    some = np.unique(np.linspace(0, len(thresholds) - 1, _POINTS).round().astype(int))[::-1]
    return thresholds[some].tolist(), f1[some].tolist()


def _rows(figures: Mapping[str, Any]) -> Section:
    reasons = figures["rejected"]
    parts = [Table(["reason", "rows", "which means"], [[code, i["rows"], i["reason"]] for code, i in reasons.items()])]
    unread = [
        [name, found["unread"]["rows"], _with_ends({**found["unread"], "value": found["unread"]["share"]}), found["n"]]
        for name, found in figures["models"].items()
        if "unread" in found
    ]
    written = Table(["written answers", "not readable", "share", "n"], unread, "Such an answer counts as no label")
    return Section(
        "Rows",
        f"{figures['rows']:,} rows in {figures['split']} = {figures['scored']:,} scored + "
        f"{figures['rows'] - figures['scored']:,} rejected.",
        [*(parts if reasons else []), *([written] if unread else [])],
    )


def _name(metric: str, single: bool) -> str:
    return "Accuracy" if single and metric == "subset_accuracy" else NAMES[metric]


def _value(found: Mapping[str, Any]) -> str:
    return "none" if found["value"] is None else f"{found['value']:.4f}"


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.4f}"


def _ends(found: Mapping[str, Any], how: str) -> str:
    if found["interval_95"] is None:
        return ""
    low, high = found["interval_95"]
    return f"{low:{how}} to {high:{how}}"


def _with_ends(found: Mapping[str, Any] | None, how: str = ".4f") -> str:
    if found is None or found["value"] is None:
        return ""
    ends = _ends(found, how)
    return f"{found['value']:{how}}" + (f" ({ends})" if ends else "")


def _markdown(figures: Mapping[str, Any], html: Path) -> str:
    single = "confusion" in figures
    names = ["subset_accuracy", "f1_macro"] if single else list(OWN_RULE)
    rows = [
        [model, *(_with_ends(found["metrics"][name]) for name in names), f"{found['n']:,}"]
        for model, found in figures["models"].items()
    ]
    rows += [
        [f"published: {each['name']}", *(f"{each[name]:.4f}" if each.get(name) else "" for name in names), ""]
        for each in figures["published"]
    ]
    verdict = figures["verdict"]
    counts = (
        f"{figures['rows']:,} rows = {figures['scored']:,} scored + {figures['rows'] - figures['scored']:,} rejected. "
        "In brackets 95 % intervals by groups. Each metric under its own rule."
    )
    parts = [
        f"# {'Toy model: ' if figures['toy'] else ''}{figures['title']} on {figures['split']}",
        f"[Report with plots]({html.absolute().as_uri()}): `{html.absolute()}`",
        *figures["notes"],
        *([f"Verdict: **{verdict['outcome']}**"] if verdict else []),
        markdown_table(["model", *(_name(name, single) for name in names), "n"], rows),
        counts,
        markdown_table(["", ""], [[name, value] for name, value in figures["versions"].items()]),
    ]
    return "\n\n".join(parts) + "\n"
