"""Loading of the pipeline, for commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhpe_ros.config import Config
from dhpe_ros.system.errors import CommandError, one_line

if TYPE_CHECKING:
    from dhpe_ros.pipeline import HandPipeline


def load_pipeline(config: Config) -> HandPipeline:
    """The pipeline of a configuration. Raises ``CommandError`` for a bad file or device."""
    from dhpe_ros.pipeline import HandPipeline

    try:
        return HandPipeline(config)
    except (ValueError, OSError, RuntimeError) as error:
        raise CommandError(one_line(error)) from error
