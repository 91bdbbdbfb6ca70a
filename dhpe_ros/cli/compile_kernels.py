"""``python -m dhpe_ros.cli.compile_kernels``: compile the kernels of the pipeline."""

from __future__ import annotations

from dhpe_ros.config import Config
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.system.programs import run_program


def main() -> None:
    """Run the pipeline once; `dhpe_ros.system.compiled` keeps its kernels."""
    HandPipeline(Config().replace({"model.backend": "eager", "model.device": "cpu"})).warm_up()


if __name__ == "__main__":
    run_program(main)
