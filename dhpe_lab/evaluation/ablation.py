"""Ablations (the paper's Fig. 5): the same short training with one part left out at a time.

Every variant starts from the same weights, sees the same pictures in the same order for the same
number of steps, and is measured on the same hands, before refinement and after it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from tqdm import tqdm

from dhpe_lab.evaluation.labelled import LabelledSet, open_labelled
from dhpe_lab.evaluation.metrics import pck_curve
from dhpe_lab.evaluation.predict import predict
from dhpe_lab.evaluation.score import Score, score, summary
from dhpe_lab.evaluation.synthetic_set import open_synthetic
from dhpe_lab.training import distributed
from dhpe_lab.training.config import TrainConfig
from dhpe_lab.training.train import prepare, train
from dhpe_lab.training.train_log import read_log
from dhpe_ros.config import Config
from dhpe_ros.networks.weights import build_networks, load_networks, save_networks
from dhpe_ros.pipeline import HandPipeline

_LOG = logging.getLogger(__name__)
_TRIAL_STEPS = 15  # of which the first third is not timed
_THRESHOLDS_MM = np.arange(0.0, 51.0, 2.0)
_THRESHOLDS_PCT = np.arange(0.0, 20.5, 1.0)


@dataclass(frozen=True)
class Variant:
    """One row of the table: what differs from the complete training."""

    name: str
    label: str
    changes: Mapping[str, object] = field(default_factory=dict)
    other_seed: bool = False
    trained: bool = True  # False: the weights that all begin with


VARIANTS = (
    Variant("start", "before this training", trained=False),
    Variant("complete", "complete"),
    Variant("other_seed", "complete, another seed", other_seed=True),
    Variant("no_self_supervision", "no self-supervised hands", {"self_supervision.share": 0.0}),
    Variant("no_augmentation", "no augmentation of pictures", {"data.augmentation": False}),
    Variant("no_2d_losses", "no 2D losses", {"loss.heatmaps": 0.0, "loss.refined": 0.0}),
    Variant("no_refiner", "no refiner", {"model.refiner": False}),
    Variant("constant_lambda", "constant lambda", {"loss.gate": False}),
    Variant("no_shape_loss", "no shape loss", {"loss.silhouette": 0.0}),
)


def variant_config(variant: Variant, base: TrainConfig, folder: Path) -> TrainConfig:
    """The settings that a variant is trained with, in ``folder``.

    Raises ``ValueError`` for a variant that is no other training than the complete one.
    """
    changes = dict(variant.changes)
    if variant.other_seed:
        changes["learning.seed"] = base.learning.seed + 1
    if not variant.trained and not base.model.initial:
        raise ValueError("there are no weights to begin with")
    changed = base.replace(changes)
    if changes and changed == base:
        said = ", ".join(f"{name}={value}" for name, value in changes.items())
        raise ValueError(f"the complete training has {said} already")
    return changed.replace({"run.output": str(folder)})


def with_fresh_mesh(base: TrainConfig, file: Path) -> TrainConfig:
    """The training that begins with an untrained mesh network; its weights are written to ``file``.

    The evidence networks are those of ``model.initial``; the same seed gives the same file. Errors
    as in ``load_networks``.
    """
    profile = base.model.profile
    networks = load_networks(base.model.initial, profile)
    torch.manual_seed(base.learning.seed)
    networks.mesh_estimator = build_networks(profile).mesh_estimator
    if distributed.rank() == 0:
        save_networks(networks, file, {"evidence networks of": Path(base.model.initial).name})
    distributed.wait()
    return base.replace({"model.initial": str(file)})


def steps_within(base: TrainConfig, minutes: float, device: torch.device) -> int:
    """Steps of the joint training that fit into ``minutes`` here and now, by a short trial."""
    with TemporaryDirectory() as folder:
        trial = base.replace(
            {
                "budget.steps": _TRIAL_STEPS,
                "budget.evidence_share": 0.0,
                "run.log_steps": 1,
                "run.output": folder,
            }
        )
        if not train(prepare(trial, device)):
            raise KeyboardInterrupt
        steps = 1
        if distributed.rank() == 0:  # which keeps the log
            rows = read_log(Path(folder))
            speeds = [row["images_per_s"] for row in rows if "images_per_s" in row]
            examples = 60 * minutes * median(speeds[_TRIAL_STEPS // 3 :])
            steps = max(1, round(examples / (base.data.batch * distributed.count())))
    (steps,) = distributed.agree([steps], device)
    return round(steps)


def open_sets(real: str, limit: int) -> list[LabelledSet]:
    """At most ``limit`` hands of each held-back set: synthetic, and those of a folder ``real``.

    Errors as in ``open_labelled``.
    """
    folders = [Path(real) / name for name in ("signs", "wild")] if real else []
    there = [folder for folder in folders if (folder / "labels.json").is_file()]
    if real and not there:
        raise ValueError(f"{real}: there is neither signs/labels.json nor wild/labels.json")
    photographs = [open_labelled(folder, folder.name).part(limit, 0) for folder in there]
    return [open_synthetic(limit), *photographs]


def run_variant(
    variant: Variant,
    config: TrainConfig,
    sets: Sequence[LabelledSet],
    refinement_steps: int,
    device: torch.device,
) -> dict:
    """Train a variant, or go on with it, and measure it; what is known already is read.

    Several processes train together, the first one measures. Raises ``KeyboardInterrupt`` where
    training was interrupted, and what training raises.
    """
    folder = Path(config.run.output)
    file = folder / "result.json"
    if file.is_file():
        return json.loads(file.read_text("utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    weights, begun = Path(config.model.initial), time.monotonic()
    if variant.trained:
        if not train(prepare(config, device)):
            raise KeyboardInterrupt
        weights = folder / "last.safetensors"
    trained_s = time.monotonic() - begun if variant.trained else 0.0
    try:
        if distributed.rank() == 0:
            measured = measure(weights, config, sets, sorted({0, refinement_steps}))
            result = {
                "name": variant.name,
                "label": variant.label,
                "changes": dict(variant.changes),
                "training_s": round(trained_s, 1),
                "measured": measured,
            }
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(result, indent=1, allow_nan=False), "utf-8")
            partial.replace(file)
    finally:
        distributed.wait()
    if not file.is_file():
        raise RuntimeError("the first process could not measure it")
    return json.loads(file.read_text("utf-8"))


def measure(
    weights: Path, config: TrainConfig, sets: Sequence[LabelledSet], refinements: Sequence[int]
) -> list[dict]:
    """Figures and PCK curve of each set with each number of refinement steps, hands given."""
    found = []
    for steps in refinements:
        settings = {
            "model.profile": config.model.profile,
            "model.weights": str(weights),
            "model.backend": "eager",  # weights that are used once are not worth converting
            "model.hand_model": config.model.hand_model,
            "model.device": config.model.device,
            "refinement.steps": steps,
        }
        pipeline = HandPipeline(Config().replace(settings))
        for labelled in sets:
            told = f"{labelled.name}, {steps} refinement steps"
            bar = tqdm(predict(pipeline, labelled), told, len(labelled.hands), unit="hand")
            scores = [score(prediction) for prediction in bar]
            about = {"set_name": labelled.name, "refinement_steps": steps}
            found.append({**about, "figures": summary(scores), "curve": _curve(scores)})
    return found


def _curve(scores: Sequence[Score]) -> dict:
    """PCK in millimetres where there is exact depth, else in percent of the joints' box."""
    in_mm = [one.errors_mm for one in scores if one.errors_mm is not None]
    in_pct = [one.errors_pct for one in scores if one.errors_pct is not None]
    errors, unit, thresholds = in_mm, "mm", _THRESHOLDS_MM
    if not in_mm:
        errors, unit, thresholds = in_pct, "% of the joints' box", _THRESHOLDS_PCT
    shares = pck_curve(np.array(errors), thresholds) if errors else np.zeros(len(thresholds))
    return {"unit": unit, "thresholds": thresholds.tolist(), "pck": shares.round(4).tolist()}
