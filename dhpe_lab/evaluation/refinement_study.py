"""Gain by refinement (the paper's Fig. 5(e) and its fitting baselines), hand by hand.

The networks see each hand once; every method begins from that and is measured against the label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import mean, median

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dhpe_lab.evaluation.baselines import fit_keypoints, swarm
from dhpe_lab.evaluation.labelled import LabelledHand, LabelledSet
from dhpe_lab.evaluation.predict import Prediction, given_view
from dhpe_lab.evaluation.score import Score, score, summary
from dhpe_ros.config import RefinementConfig
from dhpe_ros.pipeline import HandPipeline, StageClock, StageResults
from dhpe_ros.refinement.objective import objective
from dhpe_ros.refinement.refine import refine
from dhpe_ros.refinement.terms import Observation
from dhpe_ros.refinement.uncertainty import joint_stds

PAPER = RefinementConfig.paper()  # also measures every method's result: ``objective``


@dataclass(frozen=True)
class SeenHand:
    """A labelled hand, its evidence and estimate, and the observations of all terms."""

    label: LabelledHand
    results: StageResults  # of this hand alone, without refinement

    @property
    def observation(self) -> Observation:
        return self.results.observation

    @property
    def estimate(self) -> Tensor:
        """``(1, 63)`` of the mesh network."""
        return self.results.estimates


@dataclass(frozen=True)
class Method:
    """A way from what is seen of a hand to its parameters, and how many steps of it were taken."""

    name: str
    steps: int | None  # at most so many; None: it has no such number
    fit: Callable[[SeenHand], tuple[Tensor, int]]


@dataclass
class _Tally:
    """Results of one method, over the hands."""

    scores: list[Score] = field(default_factory=list)
    objectives: list[float] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float | None]:
        every = summary(self.scores)
        return {
            **{name: every[name] for name in ("err2d_pct", "mask_iou", "auc_20_50")},
            "objective": round(mean(self.objectives), 5),
            "steps_taken": round(mean(self.taken), 1),
            "ms": round(median(self.ms), 2),
        }


def methods(pipeline: HandPipeline, steps: Sequence[int], seed: int) -> list[Method]:
    """The estimate as it is, both ways of refining it with each number of steps, the baselines."""
    projection, evidence = pipeline.projection, pipeline.eager.evidence
    ours = replace(pipeline.config.refinement, optimizer="levenberg_marquardt", time_budget=0.0)

    def refined(config: RefinementConfig, count: int) -> Callable[[SeenHand], tuple[Tensor, int]]:
        def fit(hand: SeenHand) -> tuple[Tensor, int]:
            stopped = replace(config, steps=count)
            result = refine(hand.estimate, hand.observation, projection, evidence, stopped)
            return result.parameters, result.steps

        return fit

    return [
        Method("networks alone", 0, refined(PAPER, 0)),
        *(Method("Eq. 13, Adam", n, refined(PAPER, n)) for n in steps),
        *(Method("Levenberg-Marquardt", n, refined(ours, n)) for n in steps),
        Method("particle swarm", None, lambda h: (baseline("swarm", pipeline, h, seed), 0)),
        Method("keypoints only", None, lambda h: (baseline("keypoints", pipeline, h, seed), 0)),
    ]


def baseline(method: str, pipeline: HandPipeline, hand: SeenHand, seed: int) -> Tensor:
    """Parameters ``(1, 63)`` by ``swarm``, or by ``keypoints``: those of the heat maps alone."""
    projection, seen = pipeline.projection, hand.observation
    if method == "swarm":
        return swarm(hand.estimate, seen, projection, PAPER, seed)
    seen = replace(seen, joints=hand.results.evidence.joints)
    return fit_keypoints(seen, projection, pipeline.eager.evidence)


def study(
    pipeline: HandPipeline, labelled: LabelledSet, steps: Sequence[int], seed: int
) -> list[dict]:
    """A row for each method: ``set``, ``n``, ``method``, ``steps`` and the figures.

    ``ms`` is the median time of a hand, alone: of the networks in the row without refinement, of
    what a method adds to them in the others.
    """
    compared = methods(pipeline, steps, seed)
    tallies = [_Tally() for _ in compared]
    bar = tqdm(labelled.pictures(), labelled.name, len(labelled.hands), unit="hand", smoothing=0)
    for label, image in bar:
        hand = infer(pipeline, label, image)
        networks_s = hand.results.seconds["evidence"] + hand.results.seconds["mesh"]
        for method, tally in zip(compared, tallies, strict=True):
            clock = StageClock(pipeline.device)
            parameters, taken = method.fit(hand)
            clock.lap("fit")
            spent_s = networks_s if method.steps == 0 else clock.seconds["fit"]
            tally.ms.append(1000 * spent_s)
            tally.taken.append(taken)
            of_hand = hand.observation, pipeline.projection, pipeline.eager.evidence, PAPER
            with torch.no_grad():
                tally.objectives.append(float(objective(parameters, *of_hand)))
            tally.scores.append(score(placed(pipeline, hand, parameters)))
    return [
        {
            "set": labelled.name,
            "n": len(labelled.hands),
            "method": method.name,
            "steps": method.steps,
            **tally.figures(),
        }
        for method, tally in zip(compared, tallies, strict=True)
    ]


def infer(pipeline: HandPipeline, label: LabelledHand, image: np.ndarray) -> SeenHand:
    """Run the networks on one hand, given by its label's box and side."""
    view = given_view(pipeline, label, image)
    results = pipeline.run([view], replace(PAPER, steps=0), timed=True)
    joints_2d = results.observation.joints
    everything = pipeline.observation(
        [view], results.crops, results.evidence, joints_2d, features=True, masks=True
    )
    return SeenHand(label, replace(results, observation=everything))


def placed(pipeline: HandPipeline, hand: SeenHand, parameters: Tensor) -> Prediction:
    """The hand of these parameters ``(1, 63)``, lifted as the pipeline does."""
    results, as_it_is = hand.results, replace(PAPER, steps=0)
    kept = refine(
        parameters, hand.observation, pipeline.projection, pipeline.eager.evidence, as_it_is
    )
    (view,), crops = results.views, results.crops
    stds = joint_stds(parameters, hand.observation, pipeline.projection)
    (lifted,) = pipeline.lift([view], crops, results.evidence, kept, stds)
    return Prediction(hand.label, view.image.shape[:2], lifted, True, view.target.side)
