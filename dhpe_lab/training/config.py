"""One home for every default of the training program."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dhpe_ros.settings import Settings, setting
from dhpe_ros.types import HEATMAP_SIGMA


@dataclass(frozen=True)
class ModelConfig:
    """Networks that are trained, and their device."""

    profile: str = setting("lite", "full: the paper's networks; lite: one small trunk",
                           one_of=("lite", "full"))  # fmt: skip
    trunk: str = setting("", "trunk of an untrained lite; empty: the one that ships",
                         one_of=("", "pyramid", "efficientnet_lite0"))  # fmt: skip
    input_size: int = setting(
        0, "pixels a side of lite, a multiple of 32; 0: as the weights have it", 0, 512
    )
    initial: str = setting("", "safetensors file to start from; empty: untrained networks")
    encoder: str = setting("", "ImageNet weights (.pth) of an untrained efficientnet_lite0")
    refiner: bool = setting(True, "false: 2D joints stay those of the heat maps")
    hand_model: str = setting("", "MANO-format hand; empty: the open hand that ships")
    device: str = setting("auto", "auto: a GPU where there is one", one_of=("auto", "cpu", "cuda"))


LIVE = "live"
NOTHING = "nothing to learn from: set data.real, data.rhd, data.stb or data.synthetic"


@dataclass(frozen=True)
class DataConfig:
    """Sources to learn from (docs/explanation/training.md): one or more of the first four."""

    real: str = setting("", "folder of labelled photographs")
    rhd: str = setting("", "RHD_published_v2, the Rendered Handpose Dataset")
    stb: str = setting("", "folder of STB's images/ and labels/")
    synthetic: str = setting("", "folder of rendered hands; live: rendered by data.workers")
    fits: str = setting("", "folder of synthetic.photo_fits: cuts photographs out")
    held_out: str = setting("", "sets of photographs, by commas: measured, and not learnt")
    synthetic_share: float = setting(0.45, "of rendered hands, beside photographs", 0.0, 1.0)
    right_share: float = setting(
        0.75, "of hands that look like right ones; others train no mesh", 0.0, 1.0
    )
    backgrounds: str = setting("", "folder of pictures without hands")
    augmentation: bool = setting(True, "false: hands upright and untouched, in mid-crop")
    batch: int = setting(32, "examples a step, in each process", 1, 4096)
    workers: int = setting(0, "processes that make batches ahead; 0: none extra", 0, 256)

    def require_source(self) -> None:
        """Raise ``ValueError`` if there is nothing to learn from, or a folder is not there."""
        if not (self.real or self.rhd or self.stb or self.synthetic):
            raise ValueError(NOTHING)
        for name in ("real", "rhd", "stb", "synthetic", "fits", "backgrounds"):
            folder = getattr(self, name)
            if folder and folder != LIVE and not Path(folder).is_dir():
                raise ValueError(f"data.{name}: there is no folder {folder}")


@dataclass(frozen=True)
class BudgetConfig:
    """Length of a run; whichever of minutes and steps is used up first ends it."""

    minutes: float = setting(
        60.0, "of all starts, reading and checks; on a CPU of its threads; 0: no limit", 0.0, 1e6
    )
    steps: int = setting(0, "0: no limit", 0, 10**9)
    evidence_share: float = setting(0.3, "part of the budget before the mesh joins", 0.0, 1.0)
    half_size_share: float = setting(
        0.0, "part of the budget, at its beginning, with half as many pixels a side", 0.0, 1.0
    )

    def used(self, step: int, seconds: float, reserved_s: float = 0.0) -> float:
        """Part of the budget that is used up, 0..1 and beyond.

        ``reserved_s`` of the minutes are for what is no training.
        """
        by_time = seconds / max(60 * self.minutes - reserved_s, 1e-9) if self.minutes else 0.0
        by_steps = step / self.steps if self.steps else 0.0
        return max(by_time, by_steps)


@dataclass(frozen=True)
class LearningConfig:
    """The optimiser's steps."""

    rate: float = setting(1e-3, "highest learning rate of AdamW", 0.0, 1.0)
    warmup_steps: int = setting(100, "up to the highest rate; then half a cosine", 1, 10**6)
    weight_decay: float = setting(1e-4, "of AdamW", 0.0, 1.0)
    ema_decay: float = setting(0.998, "of the averaged weights, which are saved", 0.0, 1.0)
    clip_norm: float = setting(20.0, "longest gradient", 1e-6, 1e9)
    precision: str = setting(
        "auto", "of the evidence networks; auto: bf16 where it is fast, else fp32",
        one_of=("auto", "bf16", "fp32"),
    )  # fmt: skip
    frozen_statistics: bool = setting(
        False, "keep the batch norms' statistics and no dropout: for a little more training"
    )
    only: str = setting("", "part that learns, as evidence.mask_head; empty: all")
    frozen: str = setting("", "parts that stay, by commas, as evidence.trunk.encoder.stem")
    seed: int = setting(0, "another seed, other examples", 0, 2**31 - 1)


@dataclass(frozen=True)
class SelfSupervisionConfig:
    """New hands from the networks' own predictions (docs/explanation/method.md, section 4)."""

    share: float = setting(0.0, "of such hands among the examples; 0: none are made", 0.0, 0.9)
    begin: float = setting(0.5, "part of the budget before the first are made", 0.0, 1.0)
    seeds_per_step: float = setting(
        0.5, "predictions that three hands each are made of, in each process", 0.0, 4096.0
    )
    capacity: int = setting(2000, "hands that each process keeps, 130 kB each; the oldest go", 1)


@dataclass(frozen=True)
class LossConfig:
    """Factors of the terms of ``total_loss``, on top of its own weights; 0 leaves a term out."""

    heatmaps: float = setting(1.0, "L_J2D, Eq. 3", 0.0, 1e6)
    heatmap_sigma: float = setting(HEATMAP_SIGMA, "of its targets, of the crop's side", 0.01, 0.5)
    left_hands: float = setting(0.1, "of L_J2D of hands that look like left ones", 0.0, 1.0)
    side: float = setting(1.0, "left or right", 0.0, 1e6)
    hand: float = setting(1.0, "hand or none", 0.0, 1e6)
    masks: float = setting(1.0, "which cells show the hand", 0.0, 1e6)
    features: float = setting(1.0, "L_Feat, Eq. 2", 0.0, 1e6)
    skeleton: float = setting(1.0, "L_Art, Eq. 8", 0.0, 1e6)
    refined: float = setting(1.0, "L_Ref, Eq. 6", 0.0, 1e6)
    silhouette: float = setting(1.0, "L_Sh, Eq. 9", 0.0, 1e6)
    gate: bool = setting(True, "L_Sh waits for the joints, Eq. 12; false: it always counts")
    laplacian: float = setting(1.0, "L_Lap, Eqs. 10, 11", 0.0, 1e6)
    parameters: float = setting(1.0, "known rotation, pose, shape", 0.0, 1e6)
    prior: float = setting(1.0, "plausible pose and shape", 0.0, 1e6)


@dataclass(frozen=True)
class RunConfig:
    """Files of a run, and when it is checked."""

    output: str = setting("runs/lite", "folder of the run; one that holds a run is gone on with")
    check_minutes: float = setting(4.0, "between two checks with a checkpoint; 0: by steps", 0.0)
    check_steps: int = setting(0, "likewise in steps; 0: by time alone", 0)
    log_steps: int = setting(20, "steps that a line of the log sums up", 1)
    best_by: str = setting("mean.mesh", "figure SET.FIGURE that best.safetensors has lowest")
    bad_steps: int = setting(10, "steps without a finite gradient in a row that end the run", 1)


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Everything that can be set."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    self_supervision: SelfSupervisionConfig = field(default_factory=SelfSupervisionConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.budget.minutes and not self.budget.steps:
            raise ValueError("budget.minutes or budget.steps must be set")
        if self.learning.only.startswith("mesh_estimator") and self.budget.evidence_share > 0:
            raise ValueError(
                "learning.only: the mesh learns nothing before it joins; set "
                "budget.evidence_share to 0"
            )

    def check_continues(self, other: TrainConfig) -> None:
        """Check that a run under ``other`` settings can go on under these.

        Raises ``ValueError`` where they differ in more than how long, where and how it is watched.
        """
        theirs = other.as_mapping()
        for name, value in self.as_mapping().items():
            free = name.startswith(("budget.", "run.")) or name in _FREE
            if not free and value != theirs[name]:
                raise ValueError(
                    f"{self.run.output} holds a run with {name} {theirs[name]!r}, not {value!r}; "
                    "choose another run.output, or go on with it by --resume"
                )


_FREE = (
    *(f"model.{name}" for name in ("device", "initial", "encoder")),
    *(f"data.{name}" for name in ("workers", "real", "fits", "rhd", "stb", "synthetic")),
    "data.backgrounds",
)
