"""The training process, which kills itself at a point that the environment names.

``DIES=writing:4`` in the middle of writing checkpoint 4, ``DIES=training:5`` in the forward of step 5.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

from tasks.models.torchvision import let_torchvision_load
from tasks.training import child

let_torchvision_load()

from tasks.training.trainer import AnswerTrainer  # noqa: E402  # transformers looks for torchvision

WHERE, _, STEP = os.environ["DIES"].partition(":")


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class DyingTrainer(AnswerTrainer):
    """Dies."""

    def _save_rng_state(self, output_dir: str) -> None:
        if WHERE == "writing" and self.state.global_step == int(STEP):
            _die()
        super()._save_rng_state(output_dir)

    def compute_loss(self, *args: Any, **how: Any) -> Any:
        if WHERE == "training" and self.state.global_step + 1 == int(STEP):
            _die()
        return super().compute_loss(*args, **how)


if __name__ == "__main__":
    import tasks.training.trainer

    tasks.training.trainer.AnswerTrainer = DyingTrainer  # type: ignore[misc]
    sys.exit(child.main(sys.argv[1]))
