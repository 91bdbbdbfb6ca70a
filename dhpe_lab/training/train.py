"""Joint training of a profile's networks: one visible loop (docs/explanation/method.md)."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dhpe_lab.training import distributed
from dhpe_lab.training.batches import Batch, MixedBatches
from dhpe_lab.training.checks import check, require_figure, save_checkpoint
from dhpe_lab.training.config import TrainConfig
from dhpe_lab.training.data import TrainingData, load_data
from dhpe_lab.training.nonfinite_guard import NonFiniteGuard
from dhpe_lab.training.self_supervision import SelfSupervision
from dhpe_lab.training.state import TrainingState, compute_s, saved_config
from dhpe_lab.training.total_loss import total_loss
from dhpe_lab.training.train_log import Means, TrainLog
from dhpe_ros.engines.processor import has_fast_bf16
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import hand_model_path

_LOG = logging.getLogger(__name__)
_BAR = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"


@dataclass
class Run:
    """Objects that one process trains with."""

    config: TrainConfig
    device: torch.device
    data: TrainingData
    state: TrainingState
    projection: Projection
    begun_s: float  # of ``compute_s``, before the data were read

    @property
    def folder(self) -> Path:
        return Path(self.config.run.output)


def prepare(config: TrainConfig, device: torch.device) -> Run:
    """Begin a run, or go on with the one that ``run.output`` holds.

    Raises ``ValueError`` or ``OSError`` for data, weights or a run that do not fit.
    """
    begun_s = compute_s(device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    data = load_data(config)
    require_figure(config.run.best_by, data.held_back)
    state = TrainingState.begin(config, device)
    model = HandModel(config.model.hand_model or hand_model_path())
    run = Run(config, device, data, state, Projection(model).eval().to(device), begun_s)
    run.folder.mkdir(parents=True, exist_ok=True)
    last = run.folder / "last.state"
    if last.is_file():
        config.check_continues(saved_config(last))
        state.load(last)
        _LOG.info("resumed at step %d", state.step)
    return run


def train(run: Run) -> bool:
    """Train until the budget is used up; True when it is, False when it was interrupted.

    A usable checkpoint stands in the run's folder from the first check on; the budget has room for
    the last one. Raises ``FloatingPointError`` when the gradients stay not finite.
    """
    config, state, device = run.config, run.state, run.device
    learning = config.learning
    losses, stage, batches, seen = None, None, None, None
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    size = state.networks.evidence.feature_size
    own = SelfSupervision(config, state, run.projection, run.data.surroundings)
    guard, means = NonFiniteGuard(run.folder, config.run.bad_steps), Means()
    first = distributed.rank() == 0
    train_log = TrainLog(run.folder, state.step) if first else None
    checks = _Due(config, state)
    state.started_s += compute_s(device) - run.begun_s
    begun, logged = compute_s(device) - state.elapsed_s, (state.step, time.monotonic())
    with interruption() as asked, tqdm(total=100, disable=not first, bar_format=_BAR) as bar:
        while True:
            elapsed, reserved = compute_s(device) - begun, state.started_s + state.check_s
            told = distributed.agree((elapsed, reserved, asked.is_set()), device)
            state.elapsed_s, reserved, stop = told
            used = config.budget.used(state.step, state.elapsed_s, reserved)
            if stop or used >= 1:
                break
            due = size // 2 if used < config.budget.half_size_share else size
            if seen != due:
                state.see(due)
                mixed = MixedBatches.of_run(config, run.data, due)
                batches = _Ahead(mixed.start(state.step, config.data.workers, device))
                seen = due
            dropout_seed = state.step * distributed.count() + distributed.rank()
            torch.manual_seed((learning.seed << 32) + dropout_seed)
            for group in state.optimizer.param_groups:
                group["lr"] = learning.rate * schedule(state.step, used, learning.warmup_steps)
            evidence_only = used < config.budget.evidence_share
            if stage != evidence_only:
                losses, stage = distributed.share(JointLoss(run, evidence_only)), evidence_only
            batch = own.mixed(next(batches))
            terms = losses(batch)
            loss = sum(getattr(config.loss, name, 1.0) * term for name, term in terms.items())
            state.optimizer.zero_grad(set_to_none=True)
            # A loss that is not finite is told to all processes by gradients that are not.
            loss.backward(torch.where(loss.isfinite(), 1.0, torch.nan))
            norm = nn.utils.clip_grad_norm_(parameters, learning.clip_norm)
            if device.type == "cuda":
                batches.prepare()
            if guard.passes(state.step, norm, batch, terms):
                state.optimizer.step()
                state.average(learning.ema_decay)
                means.add({"loss/total": loss, "gradient": norm})
                means.add({f"loss/{name}": term for name, term in terms.items()})
                if not evidence_only and used >= config.self_supervision.begin:
                    own.grow(batch)
            else:
                state.restore_statistics()
            state.step += 1
            bar.update(min(100 * used, 100) - bar.n)
            if first and state.step % config.run.log_steps == 0:
                logged = _log(run, train_log, means.take(), logged, bar)
            if checks.now():
                own.store()
                if first:
                    check(state, run.projection, run.data, config, train_log)
    own.store()
    if first and stop:
        save_checkpoint(state, run.data, config)
    elif first and checks.step != state.step:
        check(state, run.projection, run.data, config, train_log)
    if train_log:
        train_log.close()
    return not stop


class JointLoss(nn.Module):
    """Losses of a stage in one call, as distributed training needs them."""

    def __init__(self, run: Run, evidence_only: bool) -> None:
        super().__init__()
        self._networks, self._projection = run.state.networks, run.projection
        self._evidence_only = evidence_only
        self._config = run.config.loss
        self._precision = _precision(run.config.learning.precision, run.device)
        self.evidence, self.mesh_estimator = self._networks.modules()
        if not run.config.learning.only:
            self.mesh_estimator.requires_grad_(not evidence_only)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return total_loss(
            self._networks,
            self._projection,
            batch,
            evidence_only=self._evidence_only,
            config=self._config,
            precision=self._precision,
        )


def schedule(step: int, used: float, warmup_steps: int) -> float:
    """Learning rate factor: a short warm-up, and half a cosine over the budget."""
    return min(1.0, (step + 1) / warmup_steps) * (0.5 + 0.5 * math.cos(math.pi * min(used, 1.0)))


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C or SIGTERM, for an orderly end; a second one ends at once."""
    asked = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _frame: object) -> None:
        asked.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Ahead:
    """Batches, the next of which can be asked for before this step's result is waited for."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches, self._next = batches, None

    def prepare(self) -> None:
        self._next = next(self._batches)

    def __next__(self) -> Batch:
        batch, self._next = self._next or next(self._batches), None
        return batch


class _Due:
    """Tells when the next check is, by steps and by time.

    By time, the first is early: a run that is killed soon leaves something, and what a check takes
    is known.
    """

    def __init__(self, config: TrainConfig, state: TrainingState) -> None:
        self._steps, self._seconds = config.run.check_steps, 60 * config.run.check_minutes
        self._early = config.run.log_steps if self._seconds else 0
        self._state = state
        self._last = state.elapsed_s
        self.step = state.step  # of the last one

    def now(self) -> bool:
        by_steps = self._steps and self._state.step % self._steps == 0
        by_time = self._seconds and self._state.elapsed_s - self._last >= self._seconds
        due = bool(by_steps or by_time or self._state.step == self._early)
        if due:
            self._last, self.step = self._state.elapsed_s, self._state.step
        return due


def _precision(name: str, device: torch.device) -> torch.dtype:
    fast = "bf16" if has_fast_bf16(device) else "fp32"
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[fast if name == "auto" else name]


def _log(
    run: Run, train_log: TrainLog, means: dict[str, float], since: tuple[int, float], bar: tqdm
) -> tuple[int, float]:
    """Write what happened since (step, time); give the present ones."""
    state, now = run.state, time.monotonic()
    examples = (state.step - since[0]) * run.config.data.batch * distributed.count()
    values = {
        **means,
        "learning_rate": state.optimizer.param_groups[0]["lr"],
        "images_per_s": examples / (now - since[1]),
        "input_size": state.networks.evidence.feature_size,
        "minutes": state.elapsed_s / 60,
    }
    train_log.scalars(state.step, values)
    bar.set_postfix_str(
        f"step {state.step}, loss {means.get('loss/total', math.nan):.2f}, "
        f"{values['images_per_s']:.0f} images/s"
    )
    return state.step, now
