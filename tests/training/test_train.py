"""Training on tiny models of the real classes; nothing here was run on real weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tasks.models.adapter import read_adapter
from tasks.models.label_sets import LabelSets
from tasks.models.load import ModelOptions
from tasks.models.predict import open_classifier
from tasks.scoring.metrics import f1_micro, tally, total
from tasks.splits.build import Dataset, Wanted, build
from tasks.storage.errors import DiskFull, PermanentError
from tasks.training import child
from tasks.training.checkpoints import ADAPTER, best, torn, whole
from tasks.training.launch import Event, NotEnoughMemory, TrainingFailed, launch
from tasks.training.lora import LoraSettings
from tasks.training.package import adapter_folder, package
from tasks.training.plan import Plan
from tasks.training.progress import Progress
from tasks.training.run import finished, train
from tasks.training.sizes import OutOfMemory, Sizes
from tests.training.toy import LABELS, dataset, planned, teach

SHORT = LoraSettings(
    r=2,
    lora_alpha=4,
    bf16=False,
    learning_rate=1e-2,
    max_steps=6,
    per_device_train_batch_size=4,
    per_device_eval_batch_size=8,
    logging_steps=2,
    eval_steps=2,
)

# Plain descent, and whole batches: Adam turns a rounding error in a small gradient into a step.
PLAIN = SHORT.model_copy(update={"optim": "sgd", "learning_rate": 0.3, "max_steps": 4})

Squares = tuple[Dataset, Path]
Toys = Callable[[str], Path]


def here(plan: Plan, told: Callable[[Event], None]) -> None:
    """Train in this process, which has its imports behind it."""
    try:
        child.train(plan.folder, told)
    except torch.OutOfMemoryError as error:
        raise NotEnoughMemory(str(error)) from error


def nobody(*_: object) -> None:
    raise AssertionError("nothing was to be trained, nor halved")


def run(plan: Plan, start: Callable[[Plan, Callable[[Event], None]], None] = here) -> list[Event]:
    """Train to the end; what was told."""
    events: list[Event] = []
    train(plan, events.append, nobody, start)
    return events


def weights(plan: Plan) -> dict[str, torch.Tensor]:
    return load_file(finished(plan)[-1].folder / ADAPTER)


def curve(plan: Plan) -> list[dict[str, float]]:
    """The history without what a clock says."""
    points: list[dict[str, float]] = finished(plan)[-1].state()["log_history"]
    return [
        {key: value for key, value in point.items() if "second" not in key and "runtime" not in key} for point in points
    ]


def largest_difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, toys: Toys) -> tuple[Plan, Path, list[Event], Path]:
    """A job whose adapter was trained in a process of its own, and packaged: plan, adapter, events, images."""
    root = tmp_path_factory.mktemp("learnt")
    made, images = dataset(root, 700)
    base = root / "base"
    shutil.copytree(toys("paligemma"), base)
    teach(base, made.folder, images, 150)
    plan = planned(root / "jobs", made, base, images)
    events = run(plan, launch)
    return plan, package(plan, adapter_folder(plan, root / "adapters", "squares"), finished), events, images


def _classifier(plan: Plan, adapter: Path | None) -> Any:
    sets = LabelSets.every(LABELS)
    options = ModelOptions(base_model=plan.base.name, adapter=adapter, dtype="float32", device="cpu")
    return open_classifier(options, sets, plan.prompt, 32)


def _f1(plan: Plan, adapter: Path | None, images: Path) -> float:
    items = pq.read_table(plan.source.split("test")).to_pylist()
    classifier = _classifier(plan, adapter)
    opened = [Image.open(images / item["image"]).convert("RGB") for item in items]
    scores = classifier.score([item["text"] for item in items], opened)
    sets = classifier.label_sets
    truth = sets.membership[[sets.number(item["labels"]) for item in items]]
    return float(f1_micro(total(tally(truth, sets.membership[scores.argmax(1)])), 0.0))


def test_an_adapter_learns_what_its_base_gets_wrong(learnt: tuple[Plan, Path, list[Event], Path]) -> None:
    plan, adapter, events, images = learnt
    assert _f1(plan, None, images) < 0.45
    assert _f1(plan, adapter, images) > 0.85
    assert {"start", "log", "evaluation", "checkpoint"} == {event["event"] for event in events}
    assert [15, 30] == [event["step"] for event in events if event["event"] == "evaluation"]
    assert all(event["rows_per_second"] > 0 for event in events if event["event"] == "log")


def test_an_adapter_says_what_it_is_made_of(learnt: tuple[Plan, Path, list[Event], Path]) -> None:
    plan, adapter, _, images = learnt
    record = read_adapter(adapter)
    assert str(images) == record.images
    assert (plan.base.digest, True, "paligemma/1") == (record.base_digest, record.toy, record.family)
    assert {"name": "squares", "version": plan.source.version} == record.dataset
    assert plan.settings.model_dump(mode="json") == record.settings
    assert torch.__version__.split("+")[0] in record.versions["torch"]
    assert adapter == (adapter.parent / "latest").resolve()
    names = {path.name for path in adapter.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "curve.json", "loss.svg"} <= names


def test_peft_finds_the_base_model_by_the_name_that_was_asked_for(
    learnt: tuple[Plan, Path, list[Event], Path], tmp_path: Path
) -> None:
    from peft import PeftConfig

    plan, adapter, _, _ = learnt
    fetched = replace(plan, base=replace(plan.base, name="google/paligemma2-3b-pt-224"))
    other = package(fetched, tmp_path / "adapters" / "fetched", finished)
    assert "google/paligemma2-3b-pt-224" == PeftConfig.from_pretrained(str(other)).base_model_name_or_path
    assert read_adapter(adapter).digest == read_adapter(other).digest


def test_the_card_is_read_by_the_hub_and_says_what_a_reader_has_to_know(
    learnt: tuple[Plan, Path, list[Event], Path],
) -> None:
    from huggingface_hub import ModelCard

    plan, adapter, _, _ = learnt
    card = ModelCard.load(adapter / "README.md")
    (macro,) = [each for each in card.data.eval_results if each.metric_name == "F1 macro (validation)"]
    assert best(finished(plan)).state()["best_metric"] == pytest.approx(macro.metric_value, abs=1e-6)
    assert (plan.source.version, "validation") == (macro.dataset_revision, macro.dataset_split)
    assert {"rows": plan.rows["validation"]} == macro.dataset_args
    assert (plan.base.name, "cc0-1.0") == (card.data.base_model, card.data.license)
    for told in ("**A toy**", f"n = {plan.rows['validation']:,}", "| seed | 42 |", "one session", plan.job):
        assert told in card.text


def test_the_card_s_example_answers_as_the_scorer_does(
    learnt: tuple[Plan, Path, list[Event], Path], tmp_path: Path
) -> None:
    plan, adapter, _, images = learnt
    named = replace(plan, base=replace(plan.base, name=os.path.relpath(plan.base.name)))
    moved = package(named, tmp_path / "adapters" / "elsewhere", finished)
    item = next(row for row in pq.read_table(plan.source.split("test")).to_pylist() if "red" in row["labels"])
    upright = Image.open(images / item["image"]).convert("RGB").crop((0, 0, 32, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side
    upright.transpose(Image.Transpose.ROTATE_90).save(moved / "example.png", exif=exif)
    card = (moved / "README.md").read_text("utf-8")
    blocks = [block.split("```")[0] for block in card.split("```python\n")[1:]]
    assert 1 == len(blocks)
    # What the product does for a torchvision that was built for CUDA, then the block as it is printed.
    shim = "from tasks.models.torchvision import let_torchvision_load; let_torchvision_load()"
    program = (
        f"{shim}\nnames = {{}}\nexec(compile({blocks[0]!r}, 'README.md', 'exec'), names)\nprint(names['image'].size)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=moved, env=env, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr
    classifier = _classifier(plan, adapter)
    answer = classifier.label_sets.answer(int(classifier.score(["what somebody wrote"], [upright]).argmax()))
    assert "red" in answer
    assert [answer, "(32, 30)"] == done.stdout.splitlines()


def test_the_same_again_trains_nothing(learnt: tuple[Plan, Path, list[Event], Path]) -> None:
    plan, adapter, _, _ = learnt
    before = {path: path.stat().st_mtime_ns for path in plan.checkpoints.rglob("*")}
    assert [] == run(plan, nobody)
    assert adapter == package(plan, adapter, lambda plan: pytest.fail("it is there"))
    assert before == {path: path.stat().st_mtime_ns for path in plan.checkpoints.rglob("*")}


def test_a_changed_adapter_is_not_taken_for_the_finished_one(
    learnt: tuple[Plan, Path, list[Event], Path], tmp_path: Path
) -> None:
    plan, adapter, _, _ = learnt
    shutil.copytree(adapter, tmp_path / "changed")
    (tmp_path / "changed" / "adapter_config.json").write_text("{}")
    with pytest.raises(PermanentError, match="is not as it was written"):
        package(plan, tmp_path / "changed", finished)


def test_killed_while_writing_and_while_training_it_ends_as_if_undisturbed(
    squares: Squares, toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, images = squares
    settings = SHORT.model_copy(update={"lora_dropout": 0.2, "max_steps": 8})
    undisturbed = planned(tmp_path / "undisturbed", made, toys("paligemma"), images, settings)
    run(undisturbed)
    plan = planned(tmp_path / "killed", made, toys("paligemma"), images, settings)
    dying = partial(launch, module=["-m", "tests.training.dying_child"])

    monkeypatch.setenv("DIES", "writing:4")
    with pytest.raises(TrainingFailed, match="SIGKILL"):
        run(plan, dying)
    assert (plan.checkpoints / "checkpoint-4" / ADAPTER).is_file(), "it looks like a checkpoint"

    monkeypatch.setenv("DIES", "training:5")
    events: list[Event] = []
    with pytest.raises(TrainingFailed, match="Press Retry to go on from the newest checkpoint"):
        train(plan, events.append, nobody, dying)
    assert 2 == events[0]["step"], "the torn checkpoint 4 was not used"
    assert ["checkpoint-4-1"] == torn(plan.checkpoints)

    resumed = run(plan)
    assert 4 == resumed[0]["step"]
    assert 0.0 == largest_difference(weights(undisturbed), weights(plan))
    assert curve(undisturbed) == curve(plan)
    assert 3 == finished(plan)[-1].state()["stateful_callbacks"]["Reporter"]["args"]["sessions"]


def test_a_full_disk_is_told_keeps_no_half_of_a_checkpoint_and_goes_on(
    small_disk: Path, squares: Squares, toys: Toys
) -> None:
    made, images = squares
    plan = planned(small_disk, made, toys("paligemma"), images, SHORT.model_copy(update={"r": 64}))
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 4_000_000))
    with pytest.raises(
        DiskFull, match=r"No space left on the disk while writing .*Free some space and retry: it goes on"
    ):
        run(plan)
    left = whole(plan.checkpoints)
    assert [] == torn(plan.checkpoints)
    ballast.unlink()
    started, *_ = run(plan)
    assert left[-1].step == started["step"]
    assert finished(plan)


def test_killed_after_its_last_checkpoint_it_trains_no_further(squares: Squares, toys: Toys, tmp_path: Path) -> None:
    made, images = squares
    never_better = SHORT.model_copy(update={"learning_rate": 1e-12, "early_stopping_patience": 1})
    plan = planned(tmp_path, made, toys("paligemma"), images, never_better)
    events = run(plan)
    assert [2, 4] == [event["step"] for event in events if event["event"] == "evaluation"], "it ended early"
    checkpoints = finished(plan)
    assert 2 == best(checkpoints).step
    assert [] == run(plan, nobody)


def test_two_processes_take_the_same_steps_as_one(squares: Squares, toys: Toys, tmp_path: Path) -> None:
    made, images = squares
    two = planned(tmp_path, made, toys("paligemma"), images, PLAIN, processes=2)
    events = run(two, launch)
    assert 4 == events[-1]["step"]
    larger = PLAIN.model_copy(update={"per_device_train_batch_size": 8})
    one = planned(tmp_path, made, toys("paligemma"), images, larger)
    run(one)
    assert largest_difference(weights(one), weights(two)) < 1e-5
    evaluations = [[point for point in curve(plan) if "eval_loss" in point] for plan in (one, two)]
    for each, other in zip(*evaluations, strict=True):
        assert each["eval_loss"] == pytest.approx(other["eval_loss"], abs=1e-5)


class Memory:
    """Lets a batch through that is no larger than this many rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
        from tasks.training.trainer import AnswerTrainer

        real = AnswerTrainer.compute_loss

        def compute_loss(trainer: Any, model: Any, inputs: Any, *args: Any, **how: Any) -> Any:
            if len(inputs["input_ids"]) > rows:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return real(trainer, model, inputs, *args, **how)

        monkeypatch.setattr(AnswerTrainer, "compute_loss", compute_loss)


def test_when_the_memory_is_not_enough_half_the_batch_takes_the_same_steps(
    squares: Squares, toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, images = squares
    undisturbed = planned(tmp_path / "undisturbed", made, toys("paligemma"), images, PLAIN)
    run(undisturbed)
    plan = planned(tmp_path / "small", made, toys("paligemma"), images, PLAIN)
    halved: list[Sizes] = []
    Memory(monkeypatch, 2)
    train(plan, lambda event: None, halved.append, here)
    assert [Sizes(2, 2, 4)] == halved
    assert largest_difference(weights(undisturbed), weights(plan)) < 1e-5
    # A new run knows already.
    shutil.rmtree(plan.checkpoints)
    run(plan)


def test_when_half_the_batch_is_too_large_as_well_it_says_what_to_change(
    squares: Squares, toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, images = squares
    plan = planned(tmp_path, made, toys("paligemma"), images, SHORT)
    Memory(monkeypatch, 1)
    with pytest.raises(OutOfMemory, match=r"not enough for 2 rows at once, after halving\. Set gradient_checkpointing"):
        train(plan, lambda event: None, lambda sizes: None, here)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "smolvlm"])
def test_other_families_are_trained_by_the_same_code(family: str, squares: Squares, toys: Toys, tmp_path: Path) -> None:
    made, images = squares
    plan = planned(tmp_path, made, toys(family), images, SHORT.model_copy(update={"max_steps": 4}))
    losses = [event["loss"] for event in run(plan) if event["event"] == "log"]
    assert losses[-1] < losses[0]


def test_gradient_checkpointing_changes_no_step(squares: Squares, toys: Toys, tmp_path: Path) -> None:
    made, images = squares
    plans = [
        planned(tmp_path, made, toys("paligemma"), images, PLAIN.model_copy(update={"gradient_checkpointing": how}))
        for how in (False, True)
    ]
    for plan in plans:
        run(plan)
    assert largest_difference(*(weights(plan) for plan in plans)) < 1e-6


@pytest.mark.parametrize("how", [{"bf16": True}, {"load_in_4bit": True}, {"language_tower_only": False}])
def test_switches_are_real(how: dict[str, bool], squares: Squares, toys: Toys, tmp_path: Path) -> None:
    made, images = squares
    plan = planned(tmp_path, made, toys("paligemma"), images, SHORT.model_copy(update={"max_steps": 2, **how}))
    model, _ = child.with_adapter(plan)
    kinds = {
        (type(module).__name__, str(module.weight.dtype))
        for module in model.modules()
        if "Linear" in type(module).__name__
    }
    adapted = {name for name, each in model.named_parameters() if each.requires_grad}
    assert how.get("bf16", False) == any("bfloat16" in dtype for _, dtype in kinds)
    assert how.get("load_in_4bit", False) == any(kind == "Linear4bit" for kind, _ in kinds)
    assert ("language_tower_only" in how) == any("vision" in name for name in adapted)
    assert all("language_model" in name or "vision_tower" in name for name in adapted)
    run(plan)
    assert all(np.isfinite(point["eval_loss"]) for point in curve(plan) if "eval_loss" in point)


@pytest.mark.parametrize("anywhere", [False, True])
def test_a_layer_that_the_model_does_not_have_is_named(
    anywhere: bool, squares: Squares, toys: Toys, tmp_path: Path
) -> None:
    made, images = squares
    names = ("q_proj", "fc1" if not anywhere else "o_porj")  # fc1 is of the vision tower
    wanted = SHORT.model_copy(update={"target_modules": names, "language_tower_only": not anywhere})
    where = "" if anywhere else r" in its language tower \(language_tower_only=false looks everywhere\)"
    with pytest.raises(PermanentError, match=rf"has no layer {names[1]}{where}\. Name those that it has\."):
        child.with_adapter(planned(tmp_path, made, toys("paligemma"), images, wanted))


def test_a_chat_model_learns_free_completions(toys: Toys, tmp_path: Path) -> None:
    rows = [{"prompt": f"say {n % 3}", "completion": f"number {n % 3} it is", "routine": str(n)} for n in range(60)]
    table = tmp_path / "jokes.parquet"
    pq.write_table(pa.Table.from_pylist(rows), table)
    made = build(table, tmp_path / "datasets", "jokes", Wanted(("routine",), validation=0.2))
    settings = SHORT.model_copy(update={"max_steps": 20, "eval_steps": 10, "r": 8, "lora_alpha": 32})
    plan = planned(tmp_path / "jobs", made, toys("mistral"), None, settings, labels=None, completion="completion")
    run(plan)
    losses = [point["eval_loss"] for point in curve(plan) if "eval_loss" in point]
    assert losses[-1] < losses[0]
    assert (None, "eval_loss") == (plan.label_sets, plan.metric())
    adapter = package(plan, adapter_folder(plan, tmp_path / "adapters", ""), finished)
    assert "AutoModelForCausalLM" in (adapter / "README.md").read_text("utf-8")
    assert read_adapter(adapter).label_sets is None


def test_a_loss_that_is_no_number_ends_the_training(
    squares: Squares, toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.training.trainer import AnswerTrainer

    made, images = squares
    plan = planned(tmp_path, made, toys("paligemma"), images, SHORT)
    real = AnswerTrainer.compute_loss
    monkeypatch.setattr(
        AnswerTrainer, "compute_loss", lambda *args, **how: real(*args, **how) * torch.tensor(float("nan"))
    )
    with pytest.raises(PermanentError, match=r"The loss is nan at step 2\. Lower learning_rate"):
        run(plan)


def test_an_image_that_changed_since_the_plan_is_refused(squares: Squares, toys: Toys, tmp_path: Path) -> None:
    made, _ = squares
    images = tmp_path / "images"
    shutil.copytree(squares[1], images)
    plan = planned(tmp_path / "jobs", made, toys("paligemma"), images, SHORT)
    for path in images.iterdir():
        Image.new("RGB", (32, 32)).save(path)
    with pytest.raises(PermanentError, match=r"is not the image that it was when finetune-lora-.* was planned"):
        run(plan)


def test_what_is_told_becomes_a_page(learnt: tuple[Plan, Path, list[Event], Path]) -> None:
    plan, _, events, _ = learnt
    progress = Progress(plan)
    said = [progress.take(event) for event in events]
    assert "30 steps from the beginning, 8,192 trained parameters" == said[0]
    assert 100.0 == progress.percent
    page = progress.markdown()
    assert 2 == page.count("](data:image/svg+xml;base64,")
    assert "| step | F1 macro | F1 micro |" in page
    assert json.loads(json.dumps(events))


def test_old_checkpoints_go_and_the_best_one_stays(squares: Squares, toys: Toys, tmp_path: Path) -> None:
    made, images = squares
    settings = SHORT.model_copy(update={"learning_rate": 1e-12, "eval_steps": 1, "max_steps": 5, "save_total_limit": 1})
    plan = planned(tmp_path, made, toys("paligemma"), images, settings)
    run(plan)
    assert [1, 5] == [each.step for each in finished(plan)], "the first is the best, since nothing was learnt"
