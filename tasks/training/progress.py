"""How a training goes: the curve, in words and as drawings, while it runs and afterwards.

The curve is the Trainer's own history, as checkpoints keep it: of a resumed run it is the undisturbed run's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.pages.page import Plot
from tasks.pages.plots import curves
from tasks.pages.words import duration, markdown_table
from tasks.training.checkpoints import STATE, sealed
from tasks.training.plan import Plan

Point = Mapping[str, float]

# In a picture of its own the page's colours are not known: these are read on white and on black.
_COLOURS = {"var(--ink)": "#7a828e", "var(--line)": "#7a828e66", "var(--bar)": "#3b82c4"}
_METRICS = {
    "eval_f1_macro": "F1 macro",
    "eval_f1_micro": "F1 micro",
    "eval_subset_accuracy": "subset accuracy",
    "eval_hamming_loss": "Hamming loss",
    "eval_loss": "loss",
}


@dataclass(slots=True)
class Progress:
    """What a training has told so far.

    Args:
        plan: The job.
        points: Its history up to where it was resumed.
    """

    plan: Plan
    points: list[Point] = field(default_factory=list)
    step: int = 0
    steps: int = 0
    words: str = ""

    def take(self, event: Mapping[str, Any]) -> str:
        """Take an event in; a line for the log, empty where there is nothing to say."""
        kind, self.step = event["event"], event["step"]
        if kind == "start":
            self.steps = event["steps"]
            self.points = [point for point in self.points if point["step"] <= self.step]
            at = f"from step {self.step:,}" if self.step else "from the beginning"
            self.words = f"{self.steps:,} steps {at}, {event['parameters']:,} trained parameters"
        elif kind == "log":
            self.points.append(event)
            self.words = (
                f"step {self.step:,} of {self.steps:,}: loss {event['loss']:.4f}, "
                f"learning rate {event['learning_rate']:.3g}, {event['rows_per_second']:,.1f} rows/s, "
                f"{duration(event['seconds_left'])} left"
            )
        elif kind == "evaluation":
            self.points.append(event)
            figures = ", ".join(f"{name} {event[key]:.4f}" for key, name in _METRICS.items() if key in event)
            self.words = f"step {self.step:,}: validation (n = {self.plan.rows['validation']:,}): {figures}"
        else:
            return ""
        return self.words

    @property
    def percent(self) -> float:
        """How far it is, from 0 to 100."""
        return round(100 * self.step / max(self.steps, 1), 1)

    def markdown(self) -> str:
        """The curve as drawings and the evaluations as a table."""
        parts = [f"# {self.plan.base.name} on {self.plan.source.name}", self.words]
        for plot in plots(self.points).values():
            parts += [f"## {plot.title}", f"![{plot.title}]({_data_uri(plot)})"]
        if rows := evaluations(self.points):
            names = [name for key, name in _METRICS.items() if key in rows[0]]
            cells = [[f"{row['step']:,}", *(f"{row[key]:.4f}" for key in _METRICS if key in row)] for row in rows]
            parts += [f"## Validation, n = {self.plan.rows['validation']:,}", markdown_table(["step", *names], cells)]
        if refused := sum(sum(reasons.values()) for reasons in self.plan.rejected.values()):
            parts.append(f"{refused:,} rows are refused: `{self.plan.examples_path}` says why.")
        return "\n\n".join(parts) + "\n"


def history(plan: Plan) -> list[Point]:
    """The curve up to the newest checkpoint."""
    newest = sealed(plan.checkpoints)
    points: list[Point] = json.loads((newest / STATE).read_bytes())["log_history"] if newest else []
    return points


def evaluations(points: Sequence[Point]) -> list[Point]:
    """The points that are evaluations."""
    return [point for point in points if "eval_loss" in point]


def plots(points: Sequence[Point]) -> dict[str, Plot]:
    """By name: loss of training and validation, and learning rate, over steps."""
    trained, checked = [point for point in points if "loss" in point], evaluations(points)
    if not trained:
        return {}
    steps = [point["step"] for point in trained]
    losses = {"training": (steps, [point["loss"] for point in trained])}
    if checked:
        losses["validation"] = ([point["step"] for point in checked], [point["eval_loss"] for point in checked])
    rates = {"learning rate": (steps, [point["learning_rate"] for point in trained])}
    return {
        "loss": curves("Loss per answer token", losses, "step", "loss"),
        "learning-rate": curves("Learning rate", rates, "step", "learning rate"),
    }


def picture(plot: Plot) -> bytes:
    """A drawing as a file of its own: SVG whose colours are readable on light and dark."""
    svg = plot.svg
    for name, colour in _COLOURS.items():
        svg = svg.replace(name, colour)
    return svg.encode()


def _data_uri(plot: Plot) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(picture(plot)).decode()}"
