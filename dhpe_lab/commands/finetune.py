"""``dhpe finetune``: better weights for the hands, the light and the camera of one recording."""

from __future__ import annotations

import argparse
import json
import logging
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from dhpe_lab.commands.settings_options import read_changes, refused
from dhpe_ros.cli.loading import load_pipeline
from dhpe_ros.cli.predict import prepare_output
from dhpe_ros.config import Config
from dhpe_ros.system.errors import CommandError

if TYPE_CHECKING:
    from dhpe_lab.training.config import TrainConfig
    from dhpe_lab.training.finetune import Outcome
    from dhpe_lab.training.own_hands import OwnHand

NAME = "finetune"
SUMMARY = "Improve the weights on your own recording, without labels."

_EPILOG = """\
RECORDING is a video, a folder of pictures or a rosbag2 recording of one hand at a time. Its hands
are fitted, and looked at again turned; those that all looks agree about are learnt from, with new
views rendered in their pose and skin. The last fifth of them is held back: before and after, the
2D joints and the mesh of a single look are compared there with what all looks of the base weights
agree on, which is no truth but what there is without labels; and with exact labels on rendered
hands. Where the recording is not better, or rendered hands get worse by more than 2 %, the weights
are not written. The base weights are never changed.

Written in --output: finetuned.safetensors where it is better, finetune.json, run/ of the training.
Exit code: 0 better weights were written, 1 they were not better, 2 the request cannot be met,
130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("recording", metavar="RECORDING", type=Path, help="video, folder of pictures, or recording")
    add("--output", metavar="DIR", type=Path, required=True, help="where to write")
    add("--minutes", metavar="N", type=float, default=10.0, help="of training (%(default)s)")
    add("--weights", metavar="FILE", type=Path, help="to begin with (default: the profile's own)")
    add("--profile", choices=("lite", "full"), default="lite", help="which networks (%(default)s)")
    add("--topic", default="", help="image topic of a recording (default: the busiest one)")
    add("--frames", metavar="N", type=int, help="at most so many frames")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="(default: auto)")
    add("--settings", metavar="SECTION.NAME=VALUE", nargs="+", default=[],
        help="of the training, as in dhpe train")  # fmt: skip


@refused(FloatingPointError)
def run(arguments: argparse.Namespace) -> int:
    from tqdm.contrib.logging import logging_redirect_tqdm

    from dhpe_lab.training import distributed
    from dhpe_lab.training.finetune import accept, finetune

    if arguments.frames is not None and arguments.frames < 1:
        raise CommandError(f"--frames must be >= 1, got {arguments.frames}")
    prepare_output(arguments.output)
    config = _config(arguments)
    if arguments.log_level == "warning":
        logging.getLogger("dhpe_lab.training").setLevel("INFO")
    hands = _hands(arguments, config)
    with distributed.joined(config.model.device) as device, logging_redirect_tqdm():
        outcome = finetune(config, hands, device)
    if outcome is None:
        return 130
    path = arguments.output / "finetuned.safetensors"
    better = accept(outcome, config, path)
    about = json.dumps({"better": better, **vars(outcome)}, indent=1)
    (arguments.output / "finetune.json").write_text(about + "\n", "utf-8")
    print(_table(outcome))
    print(f"better: {path}" if better else "not better: nothing was written, keep the base weights")
    return 0 if better else 1


def _config(arguments: argparse.Namespace) -> TrainConfig:
    """A little training with a low rate, from the base weights, measured by ``finetune``."""
    from dhpe_lab.training.config import TrainConfig
    from dhpe_ros.networks.weights import weights_path

    base = arguments.weights or weights_path(arguments.profile)
    settings = {
        "model.profile": arguments.profile,
        "model.initial": str(base),
        "model.device": arguments.device,
        "data.batch": 16,
        "budget.minutes": arguments.minutes,
        "budget.evidence_share": 0.0,
        "learning.rate": 1e-4,
        "learning.warmup_steps": 10,
        "learning.ema_decay": 0.98,
        "learning.frozen_statistics": True,
        "learning.precision": "fp32",
        "loss.hand": 0.0,  # a recording of hands does not say what is none
        "run.output": str(arguments.output / "run"),
        "run.check_minutes": 0.0,
    }
    config = TrainConfig().replace(settings)
    config = config.replace(read_changes(arguments.settings, config.as_mapping()))
    if (Path(config.run.output) / "last.state").is_file():
        raise CommandError(f"{arguments.output} holds a run already; choose another --output")
    return config


def _hands(arguments: argparse.Namespace, config: TrainConfig) -> list[OwnHand]:
    """The hands of the recording that all looks of the base weights agree about."""
    from tqdm import tqdm

    from dhpe_lab.training.own_hands import own_hands
    from dhpe_ros.media import open_media

    media = open_media(arguments.recording, arguments.topic)
    settings = {
        "model.profile": config.model.profile,
        "model.weights": config.model.initial,
        "model.hand_model": config.model.hand_model,
        "model.device": config.model.device,
    }
    pipeline = load_pipeline(Config().replace(settings))
    found = islice(own_hands(pipeline, media), arguments.frames)
    total = arguments.frames or media.count
    return [hand for hand in tqdm(found, "looking", total, unit="frame") if hand is not None]


def _table(outcome: Outcome) -> str:
    lines = [", ".join(f"{name}: {count}" for name, count in outcome.hands.items())]
    lines.append(f"{'% of the joints box':24}{'before':>10}{'after':>10}")
    for part, figures in outcome.before.items():
        for name in ("evidence", "mesh"):
            after = outcome.after[part][name]
            lines.append(f"{part + ', ' + name:24}{figures[name]:10.2f}{after:10.2f}")
    return "\n".join(lines)
