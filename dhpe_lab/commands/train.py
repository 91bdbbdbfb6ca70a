"""``dhpe train``: train the networks of a profile."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from dhpe_lab.commands.settings_options import read_changes, refused

NAME = "train"
SUMMARY = "Train the networks on labelled photographs and rendered hands."

_EPILOG = """\
The folder run.output then holds:
  last.safetensors   the averaged weights, for --weights and the node
  best.safetensors   likewise, of the check with the lowest run.best_by
  last.state         what the run goes on from, when the same command is given again
  log.jsonl, tensorboard/, pictures/   curves, and what held-back hands look like

On several GPUs, or several CPU processes, data.batch being that of each:
  torchrun --nproc-per-node 2 -m dhpe_ros.cli train --config config/train.yaml
Ctrl-C ends with a checkpoint and exit code 130."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", metavar="FILE", type=Path, help="YAML settings")
    source.add_argument(
        "--resume", metavar="RUN", type=Path, help="go on with this run, under its own settings"
    )
    parser.add_argument(
        "changes",
        metavar="SECTION.NAME=VALUE",
        nargs="*",
        help="settings that override the file's, as budget.minutes=10",
    )


@refused(FloatingPointError)
def run(arguments: argparse.Namespace) -> int:
    import cv2
    from tqdm.contrib.logging import logging_redirect_tqdm

    from dhpe_lab.training import distributed
    from dhpe_lab.training.train import prepare, train

    config = build_config(arguments)
    cv2.setNumThreads(1)  # data.workers are processes
    with distributed.joined(config.model.device) as device, logging_redirect_tqdm():
        if arguments.log_level == "warning" and distributed.rank() == 0:
            logging.getLogger("dhpe_lab.training").setLevel("INFO")
        return 0 if train(prepare(config, device)) else 130


def build_config(arguments: argparse.Namespace):
    """The settings of the file or of the run, with the changes; errors as in their readers."""
    from dhpe_lab.training.config import TrainConfig

    if arguments.resume:
        from dhpe_lab.training.state import saved_config

        base = saved_config(arguments.resume / "last.state")
        base = base.replace({"run.output": str(arguments.resume)})
    elif arguments.config:
        base = TrainConfig.from_yaml(arguments.config)
    else:
        base = TrainConfig()
    return base.replace(read_changes(arguments.changes, base.as_mapping()))
