"""The process that trains: ``python -m tasks.training.child JOB``, or several of them under ``torch.distributed.run``.

Standard output carries events, one JSON object a line; what libraries print goes to standard error::

    {"event": "start", "step": 120, "steps": 8427, "parameters": 5191680, …}
    {"event": "log", "step": 130, "loss": 0.41, "learning_rate": 0.00019, "rows_per_second": 12.1, "seconds_left": 9120, …}
    {"event": "evaluation", "step": 840, "eval_loss": 0.31, "eval_f1_macro": 0.52, …}
    {"event": "checkpoint", "step": 840}
    {"event": "error", "kind": "permanent", "message": "…"}
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from tasks.models.families.chat import Chat
    from tasks.models.families.protocol import Family
    from tasks.training.batches import Item
    from tasks.training.plan import Plan
    from tasks.training.trainer import Tell

_MESSAGE = 3_000  # characters: a line of several processes must fit into one write to a pipe
_PDEATHSIG = 1
_CHECKED = 20  # rows among which the scorer's check finds a short and a long one


def main(job: str) -> int:
    """Train a job to its end; the exit code."""
    _die_with_parent()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(event: Mapping[str, Any]) -> None:
        # One write a line, so that lines of several processes do not mix.
        events.write(json.dumps(event, ensure_ascii=False) + "\n")
        events.flush()

    from tasks.models.torchvision import let_torchvision_load
    from tasks.storage.errors import PermanentError, TransientError

    let_torchvision_load()
    import torch

    try:
        train(Path(job), tell)
    except torch.OutOfMemoryError as error:
        tell({"event": "error", "kind": "memory", "message": str(error)[:_MESSAGE]})
    except PermanentError as error:
        tell({"event": "error", "kind": "permanent", "message": str(error)[:_MESSAGE]})
    except TransientError as error:
        tell({"event": "error", "kind": "transient", "message": str(error)[:_MESSAGE]})
    else:
        return 0
    return 1


def train(folder: Path, tell: Tell) -> None:
    """Train a planned job from its newest whole checkpoint."""
    import torch
    from transformers import set_seed

    from tasks.models.prompts import TEXT
    from tasks.models.tree import AnswerTree, self_check
    from tasks.storage.errors import TornFile
    from tasks.training.batches import Collate, Conversations, Rows, collate_conversations
    from tasks.training.checkpoints import sealed
    from tasks.training.environment import environment
    from tasks.training.plan import SPLITS, read_plan
    from tasks.training.sizes import read_sizes
    from tasks.training.trainer import AnswerTrainer, Reporter, callbacks, training_arguments

    plan = read_plan(folder)
    if plan is None:
        raise TornFile(f"{folder} has no plan. Start the flow again.")
    sizes = read_sizes(plan)
    arguments = training_arguments(plan, *sizes)
    if plan.device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    set_seed(plan.settings.seed)
    model, family = with_adapter(plan)
    tree = AnswerTree(plan.label_sets, family) if plan.label_sets else None
    answers = tree.sequences if tree else None
    known: dict[str, Any] = {"family": family.name, "longest": tree.longest if tree else 0}
    if plan.columns.messages:
        # The plan refuses a base model that is no chat model.
        chat = cast("Chat", family)
        rows: Any = {split: Conversations(plan, split, chat) for split in SPLITS}
        collate: Any = collate_conversations
        known |= {"messages": rows["validation"].opening(), "template": chat.settings}
    else:
        rows = {split: Rows(plan, split, family, answers) for split in SPLITS}
        collate = Collate(family)
        known["prompt"] = family.written(TEXT if plan.columns.text else "")
    trainable = sum(each.numel() for each in model.parameters() if each.requires_grad)
    Reporter.tell = staticmethod(tell)
    Reporter.environment = environment(plan.device, plan.processes, torch)
    trainer = AnswerTrainer(
        family,
        plan.label_sets,
        tree,
        plan.settings.save_total_limit,
        model=model,
        args=arguments,
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        data_collator=collate,
        callbacks=callbacks(plan, parameters=trainable, **known),
    )
    if tree:
        some = sorted((rows["validation"][at] for at in range(min(_CHECKED, len(rows["validation"])))), key=_length)
        self_check(model.eval(), family, [some[0].text, some[-1].text], [some[0].image, some[-1].image], tree)
    set_seed(plan.settings.seed)
    newest = sealed(plan.checkpoints)
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)


def with_adapter(plan: Plan) -> tuple[Any, Family]:
    """The base model with a new adapter, ready to be trained."""
    from peft import LoraConfig, TaskType, get_peft_model, prepare_model_for_kbit_training

    from tasks.models.load import ModelOptions, load
    from tasks.storage.errors import PermanentError

    settings = plan.settings
    options = ModelOptions(
        base_model=plan.base.name,
        dtype=settings.dtype,
        load_in_4bit=settings.load_in_4bit,
        device=plan.device,
        min_pixels=settings.min_pixels,
        max_pixels=settings.max_pixels,
    )
    loaded = load(options, plan.prompt)
    model, family = loaded.model, loaded.family
    if (loaded.digest, loaded.setup) != (plan.base.digest, plan.base.setup):
        raise PermanentError(
            f"{plan.base.name} is not the model that it was when {plan.job} was planned. Start the flow again: another "
            "base model is another job."
        )
    if plan.device == "cuda":
        import torch

        # It says "cuda"; the Trainer and accelerate compare it with cuda:0 and refuse what is loaded in 4 bits.
        model.hf_device_map = {"": torch.cuda.current_device()}
    if settings.load_in_4bit:
        model = prepare_model_for_kbit_training(  # type: ignore[no-untyped-call]
            model,
            use_gradient_checkpointing=settings.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    elif settings.gradient_checkpointing:
        model.enable_input_require_grads()
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        target_modules=_targets(plan, family),
        r=settings.r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        bias=settings.bias,
        use_rslora=settings.use_rslora,
        use_dora=settings.use_dora,
    )
    try:
        adapted: Any = get_peft_model(model, config)
    except ValueError as error:  # PEFT's, for layers that the model does not have
        raise PermanentError(f"target_modules do not fit {plan.base.name}: {error}") from error
    # PEFT leaves out a name that no layer has as long as another one fits.
    found = [f".{name}" for name in adapted.base_model.targeted_module_names]
    if lost := [name for name in settings.target_modules if not any(each.endswith(f".{name}") for each in found)]:
        tower = settings.language_tower_only
        where = " in its language tower (language_tower_only=false looks everywhere)" if tower else ""
        raise PermanentError(
            f"target_modules: {plan.base.name} has no layer {', '.join(lost)}{where}. Name those that it has."
        )
    return adapted, family


def _length(item: Item) -> int:
    return len(item.text)


def _targets(plan: Plan, family: Family) -> str | list[str]:
    """The layers that get an adapter, as PEFT takes them: names, or a regular expression of the language tower."""
    names = plan.settings.target_modules
    if not plan.settings.language_tower_only:
        return list(names)
    return rf"(?=.*\.({'|'.join(names)})$){family.target_modules}"


def _die_with_parent() -> None:
    """A launcher that is killed leaves no process behind on the GPU."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before that
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
