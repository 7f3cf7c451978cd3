"""transformers' Trainer, as far as ours differs: the loss, the evaluation, and checkpoints that are sealed.

The loss is taken on the answer's tokens and its end alone (of a conversation on all its answers), per token over the whole
step: however a step's rows are cut into batches, the gradient is the same. Logits of the prompt are never made
(``logits_to_keep``): with Gemma's 257,216 words a prompt of 325 tokens cost 5 times the time and twice the memory
(docs/decisions.md).

Validation scores every allowed answer exactly; nothing is generated and nothing is parsed.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState

from tasks.models.families.protocol import Family
from tasks.models.label_sets import LabelSets
from tasks.models.tree import AnswerTree, PromptTooLong, score
from tasks.scoring.metrics import f1_macro, f1_micro, hamming_loss, subset_accuracy, tally, total
from tasks.storage.errors import DiskFull, PermanentError
from tasks.training.batches import ANSWER
from tasks.training.checkpoints import PROCESSOR, rotate, seal
from tasks.training.plan import Plan

EVALUATIONS = 10  # a run, where eval_steps says nothing

Tell = Callable[[Mapping[str, Any]], None]


class NotFinite(PermanentError):
    """The loss is no number any more."""


class AnswerTrainer(Trainer):
    """Trains on answers and evaluates by scoring them.

    Args:
        family: The model's family.
        label_sets: What ``tree`` was made of; None with completions.
        tree: All allowed answers; None with completions.
        keep: Checkpoints that are kept besides the best one.
        how: What Trainer takes.
    """

    def __init__(
        self, family: Family, label_sets: LabelSets | None, tree: AnswerTree | None, keep: int, **how: Any
    ) -> None:
        super().__init__(compute_metrics=self._figures, **how)
        self._family, self._label_sets, self._tree, self._keep = family, label_sets, tree, keep
        # Our loss is divided by the tokens of the whole step: the Trainer must not divide it by batches again.
        self.loss_is_scaled_for_ga = self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Cross entropy of the answers, summed, divided by the answer tokens of the whole step."""
        loss = self._losses(model, inputs).sum()
        items = inputs["answer_said"].sum() if num_items_in_batch is None else num_items_in_batch
        # Every process divides by the tokens of all of them, and gradients are averaged afterwards.
        loss = loss / items * (1 if num_items_in_batch is None else self.accelerator.num_processes)
        return (loss, {}) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: dict[str, Tensor], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, Tensor, Tensor]:
        """Log-probabilities of all answers ``[B, S]``, or the completion's loss ``[B, 1]``; and number and tokens."""
        inputs = self._prepare_inputs(inputs)
        tokens = inputs["answer_said"].sum(1)
        about = torch.stack([inputs["answer_number"], tokens], 1)
        with torch.inference_mode():
            if self._tree is None:
                return None, self._losses(model, inputs).sum(1, keepdim=True).double(), about
            asked = {name: value for name, value in inputs.items() if name not in ANSWER}
            try:
                scores = score(self.accelerator.unwrap_model(model), self._family, asked, self._tree)
            except PromptTooLong as error:
                row = inputs["row"][error.at[0]].item()
                raise PermanentError(f"Validation, row {row} {error} Shorten it, or take it out.") from error
        return None, scores.to(about.device), about

    def _losses(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Cross entropy of every token that the model is to say, ``[B, K]``, 0 elsewhere."""
        tokens, mask = inputs["answer_tokens"], inputs["answer_mask"]
        asked = {name: value for name, value in inputs.items() if name not in ANSWER}
        answered = self._family.extended(asked, tokens, mask)
        logits = model(**answered, use_cache=False, logits_to_keep=tokens.shape[1] + 1).logits[:, :-1].float()
        targets = tokens.masked_fill(inputs["answer_said"] == 0, -100)
        return cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: torch.device) -> Tensor:
        """Answer tokens of the whole step, over all processes."""
        count = torch.stack([batch["answer_said"].sum() for batch in batch_samples]).sum().to(device)
        gathered: Tensor = self.accelerator.gather(count)
        return gathered.sum()

    def _figures(self, predictions: Any) -> dict[str, float]:
        """Metrics of the validation rows; the loss is per answer token, as in training."""
        scores, (numbers, tokens) = predictions.predictions, predictions.label_ids.T
        if self._label_sets is None:
            return {"loss": float(scores.sum() / tokens.sum())}
        return set_figures(scores, numbers, tokens, self._label_sets)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(str(self.args.output_dir))
        checkpoint = folder / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self._family.processor.save_pretrained(checkpoint / PROCESSOR)
                seal(checkpoint)
        except Exception as error:
            # Of a full disk torch, safetensors and tokenizers tell in words of their own, so the disk is asked.
            trained = sum(each.numel() * each.element_size() for each in model.parameters() if each.requires_grad)
            needed = 3 * trained  # the weights, and Adam's two memories of them
            if not self.args.should_save or shutil.disk_usage(folder).free > needed:
                raise
            shutil.rmtree(checkpoint, ignore_errors=True)
            raise DiskFull(
                f"No space left on the disk while writing {checkpoint}, which takes some {needed / 1e6:,.0f} MB. Free some "
                "space and retry: it goes on from the newest whole checkpoint."
            ) from error
        if self.args.should_save:
            rotate(folder, self._keep, self.state.best_global_step)


def set_figures(scores: Any, numbers: Any, tokens: Any, label_sets: LabelSets) -> dict[str, float]:
    """Metrics of the likeliest answers.

    Args:
        scores: ``[rows, S]`` log-probabilities of all answers.
        numbers: ``[rows]`` the right ones.
        tokens: ``[rows]`` how many tokens those have.
        label_sets: The answers.
    """
    counts = total(tally(label_sets.membership[numbers], label_sets.membership[scores.argmax(1)]))
    return {
        "loss": float(-np.take_along_axis(scores, numbers[:, None], 1).sum() / tokens.sum()),
        "f1_macro": float(f1_macro(counts, 0.0)),
        "f1_micro": float(f1_micro(counts, 0.0)),
        "subset_accuracy": float(subset_accuracy(counts)),
        "hamming_loss": float(hamming_loss(counts)),
    }


class Reporter(TrainerCallback, ExportableState):
    """Tells how it goes, and keeps in the checkpoints what the card says: seconds, environment, trained parameters."""

    # Of the class: the Trainer makes a new reporter out of a checkpoint.
    tell: Tell = staticmethod(print)
    environment: ClassVar[dict[str, str]] = {}

    def __init__(self, **known: Any) -> None:
        self.known: dict[str, Any] = {"seconds": 0.0, "sessions": 0, "environments": [], **known}
        self._started = self._since = time.monotonic()
        self._steps = 0

    def state(self) -> dict[str, Any]:
        """Kept in every checkpoint."""
        now = time.monotonic()
        self.known["seconds"] += now - self._since
        self._since = now
        return {"args": dict(self.known), "attributes": {}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One more session, perhaps on another machine."""
        self.known["sessions"] += 1
        if self.environment not in self.known["environments"]:
            self.known["environments"].append(dict(self.environment))
        self._started, self._steps = time.monotonic(), state.global_step
        self._say(state, "start", steps=state.max_steps, **self.known)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Each checkpoint begins a new point of the curve, so that it is the same whether or not the run was resumed."""
        if control.should_save or control.should_evaluate:
            control.should_log = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A point of the curve, or an evaluation."""
        logs: Mapping[str, float] = kwargs["logs"]
        if "eval_loss" in logs:
            self._say(state, "evaluation", **logs)
        elif "loss" in logs:
            if not math.isfinite(logs["loss"]):
                raise NotFinite(
                    f"The loss is {logs['loss']} at step {state.global_step}. Lower learning_rate, "
                    "or raise warmup_ratio."
                )
            rate = (state.global_step - self._steps) / max(time.monotonic() - self._started, 1e-9)
            rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
            left = (state.max_steps - state.global_step) / rate
            self._say(state, "log", steps=state.max_steps, rows_per_second=rate * rows, seconds_left=left, **logs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The checkpoint is whole."""
        self._say(state, "checkpoint")

    def _say(self, state: Any, event: str, **what: Any) -> None:
        if state.is_world_process_zero:
            self.tell({"event": event, "step": state.global_step, **what})


def total_steps(plan: Plan, batch: int, accumulation: int) -> int:
    """Steps of a training, as the Trainer counts them."""
    if plan.settings.max_steps > 0:
        return plan.settings.max_steps
    batches = math.ceil(plan.lessons("train") / (batch * plan.processes))
    return math.ceil(plan.settings.num_train_epochs * max(1, math.ceil(batches / accumulation)))


def training_arguments(plan: Plan, batch: int, accumulation: int, eval_batch: int) -> TrainingArguments:
    """The settings as the Trainer takes them.

    Args:
        plan: The job.
        batch: Rows at once on each device, which may be less than was asked for.
        accumulation: Batches per step.
        eval_batch: Rows at once while evaluating.
    """
    settings = plan.settings
    every = settings.eval_steps or max(1, total_steps(plan, batch, accumulation) // EVALUATIONS)
    # A name that goes with transformers 6, and warns until then.
    less_memory: dict[str, Any] = {
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    }
    return TrainingArguments(
        output_dir=str(plan.checkpoints),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        per_device_eval_batch_size=eval_batch,
        num_train_epochs=settings.num_train_epochs,
        max_steps=settings.max_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler_type,
        optim=settings.optim,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.adam_beta1,
        adam_beta2=settings.adam_beta2,
        adam_epsilon=settings.adam_epsilon,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        dataloader_num_workers=settings.dataloader_num_workers,
        logging_steps=settings.logging_steps,
        bf16=settings.bf16,
        warmup_steps=settings.warmup_ratio,  # below 1 it is a share of the steps
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        metric_for_best_model=plan.metric(),
        greater_is_better=plan.metric() != "eval_loss",
        restore_callback_states_from_checkpoint=True,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=plan.device == "cuda",
        use_cpu=plan.device == "cpu",
        report_to=[],
        disable_tqdm=True,
        **(less_memory if settings.gradient_checkpointing else {}),
    )


def callbacks(plan: Plan, **known: Any) -> list[Any]:
    """The reporter, and early stopping where it is asked for."""
    patience, threshold = plan.settings.early_stopping_patience, plan.settings.early_stopping_threshold
    return [Reporter(**known), *([EarlyStoppingCallback(patience, threshold)] if patience else [])]
