"""``dhpe ablate``: short trainings with one part left out at a time, as a table and curves."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from dhpe_lab.commands.evaluate import check_least
from dhpe_lab.commands.settings_options import refused
from dhpe_lab.commands.train import build_config
from dhpe_ros.config import Config
from dhpe_ros.system.errors import CommandError, one_line

if TYPE_CHECKING:
    from dhpe_lab.training.config import TrainConfig

NAME = "ablate"
SUMMARY = "Train with one part left out at a time, and compare."

_EPILOG = """\
The folder --output then holds ablation.md, ablation.json and curves.svg, and a folder for each
variant with its run and its result. The same command goes on where it was interrupted; finished
variants are kept. --budget is turned into steps once, by a short trial of the complete training,
so that a busy machine does not change the comparison. Under torchrun several processes train.

`start` are the weights that all begin with, `other_seed` is the complete training once more on
other examples: what differs by less than these two rows do is noise.

Exit code: 0 done, 1 some variants failed, 2 the request cannot be met, 130 interrupted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.set_defaults(resume=None)
    add = parser.add_argument
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--budget", metavar="MINUTES", type=float, help="training of a variant")
    budget.add_argument("--steps", metavar="N", type=int, help="likewise, in steps")
    add("--output", metavar="DIR", type=Path, required=True, help="folder of the comparison")
    add("--config", metavar="FILE", type=Path, help="YAML settings of the complete training")
    add("--initial", metavar="FILE", type=Path,
        help="weights that all begin with, model.initial of the settings")  # fmt: skip
    add("--fresh-mesh", action="store_true",
        help="begin with their evidence networks alone, and an untrained mesh network")  # fmt: skip
    add("--variants", metavar="NAMES", help="some of the variants, comma-separated; all if not set")
    add("--real", metavar="FOLDER", default="",
        help="photographs to measure on too (default: data.real of the settings)")  # fmt: skip
    add("--limit", metavar="N", type=int, default=200, help="hands of each set (%(default)s)")
    add("--refine", metavar="N", type=int, default=Config().refinement.steps,
        help="refinement steps, beside none (%(default)s)")  # fmt: skip
    add("changes", metavar="SECTION.NAME=VALUE", nargs="*", help="settings as in dhpe train")


@refused(ImportError)
def run(arguments: argparse.Namespace) -> int:
    import cv2
    from tqdm.contrib.logging import logging_redirect_tqdm

    from dhpe_lab.evaluation.ablation import open_sets, with_fresh_mesh
    from dhpe_lab.training import distributed

    check_least(arguments, steps=1, limit=1, refine=0)
    if arguments.budget is not None and not 0 < arguments.budget < 1e6:
        raise CommandError(f"--budget must be minutes above 0, got {arguments.budget}")
    cv2.setNumThreads(1)
    names = _names(arguments.variants)
    base = _base(arguments)
    from dhpe_lab.evaluation.report.ablation import write_report

    with distributed.joined(base.model.device) as device, logging_redirect_tqdm():
        if arguments.log_level == "warning" and distributed.rank() == 0:
            logging.getLogger("dhpe_lab").setLevel("INFO")
        base.data.require_source()
        arguments.output.mkdir(parents=True, exist_ok=True)
        real, first = arguments.real or base.data.real, distributed.rank() == 0
        sets = open_sets(real, arguments.limit) if first else []  # the first one measures
        if arguments.fresh_mesh:
            base = with_fresh_mesh(base, arguments.output / "start.safetensors")
        base = _planned(arguments, base, device)
        return _compare(arguments, base, names, sets, device, write_report)


def _compare(
    arguments: argparse.Namespace, base: TrainConfig, names, sets, device, write_report
) -> int:
    """Train and measure one variant after the other; write the report anew after each."""
    from dhpe_lab.evaluation.ablation import VARIANTS, run_variant, variant_config
    from dhpe_lab.training import distributed

    log = logging.getLogger("dhpe_lab.evaluation")
    about = {
        "steps": base.budget.steps,
        "batch": base.data.batch * distributed.count(),
        "start": Path(base.model.initial).name or "untrained",
        "hands of each set": ", ".join(f"{one.name} {len(one.hands)}" for one in sets),
    }
    results, failed, text = [], {}, ""
    for number, variant in enumerate((v for v in VARIANTS if v.name in names), 1):
        try:
            config = variant_config(variant, base, arguments.output / variant.name)
        except ValueError as error:
            log.info("%s left out: %s", variant.name, one_line(error))
            continue
        log.info("%d of %d: %s", number, len(names), variant.label)
        try:
            results.append(run_variant(variant, config, sets, arguments.refine, device))
        except (ValueError, OSError, RuntimeError, ArithmeticError) as error:
            failed[variant.name] = one_line(error)
            log.error("%s failed: %s", variant.name, failed[variant.name])
        if distributed.rank() == 0:
            text = write_report(arguments.output, about, results, failed)
    print(text, end="")
    return 1 if failed else 0


def _names(text: str | None) -> list[str]:
    from dhpe_lab.evaluation.ablation import VARIANTS
    from dhpe_ros.settings import did_you_mean

    known = [variant.name for variant in VARIANTS]
    names = text.split(",") if text else known
    for name in names:
        if name not in known:
            near = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise CommandError(f"--variants: unknown variant {name!r}{near}")
    return names


def _base(arguments: argparse.Namespace) -> TrainConfig:
    """The complete training, checked at its end only."""
    config = build_config(arguments)
    initial = str(arguments.initial or config.model.initial)
    if initial and not Path(initial).is_file():
        raise CommandError(f"--initial: there is no file {initial}")
    if arguments.fresh_mesh and not initial:
        raise CommandError("--fresh-mesh needs weights whose evidence networks are kept: --initial")
    fixed = {"budget.minutes": 0.0, "run.check_minutes": 0.0, "run.check_steps": 0}
    fixed["budget.steps"] = arguments.steps or 1
    return config.replace({**fixed, "model.initial": initial})


def _planned(arguments: argparse.Namespace, base: TrainConfig, device) -> TrainConfig:
    """Take the steps from ``plan.json``, or find them now and keep them there.

    Raises ``CommandError`` where the folder holds another comparison.
    """
    from dhpe_lab.evaluation.ablation import steps_within
    from dhpe_lab.evaluation.prediction_cache import file_digest
    from dhpe_lab.training import distributed

    settings, initial = base.as_mapping(), base.model.initial
    del settings["run.output"], settings["budget.steps"]
    asked = {
        **{n: getattr(arguments, n) for n in ("budget", "steps", "limit", "refine", "real")},
        "initial sha256": file_digest(initial) if initial else "",
        **settings,
    }
    file = arguments.output / "plan.json"
    plan = _read_plan(file) if file.is_file() else None
    distributed.wait()  # all have looked before the first writes
    if plan:
        differing = [name for name, value in asked.items() if plan["asked"].get(name) != value]
        if differing:
            raise CommandError(
                f"{arguments.output} holds a comparison with another {', '.join(differing)}; "
                "choose another --output"
            )
    else:
        steps = arguments.steps or steps_within(base, arguments.budget, device)
        plan = {"asked": asked, "steps": steps}
        if distributed.rank() == 0:
            file.write_text(json.dumps(plan, indent=1), "utf-8")
    return base.replace({"budget.steps": plan["steps"]})


def _read_plan(file: Path) -> dict:
    try:
        plan = json.loads(file.read_text("utf-8"))
        if isinstance(plan["asked"], dict) and isinstance(plan["steps"], int):
            return plan
    except (ValueError, KeyError, TypeError):
        pass
    raise CommandError(f"{file} is of no comparison; choose another --output")
