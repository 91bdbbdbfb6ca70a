"""Jobs of ``dhpe predict``, their outcomes, and the record of those that are finished."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dhpe_ros import __version__
from dhpe_ros.cli.output_names import RECORD, result_paths
from dhpe_ros.config import Config
from dhpe_ros.media.frames import Media, MediaError
from dhpe_ros.system.errors import one_line

_NO_MORE_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_OPTIONS = ("intrinsics", "topic", "depth", "frames", "bag", "mesh", "every_mesh", "no_overlay")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """An input, and the stem of its outputs."""

    media: Media
    stem: str
    frames: int | None  # as far as it is known


@dataclass
class Outcome:
    """Counts of one job or of many, and lines for the user."""

    images: int = 0
    hands: int = 0
    without_hand: int = 0
    failed: int = 0  # inputs
    is_finished: bool = False  # to the end, without a failure
    backend: str = ""
    messages: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Count what ``other`` counted, and take its backend."""
        self.images += other.images
        self.hands += other.hands
        self.without_hand += other.without_hand
        self.failed += other.failed
        self.backend = other.backend or self.backend

    @contextmanager
    def survived(self, name: str | Path) -> Iterator[None]:
        """Count an input's failure, and go on; only a full disk ends the run."""
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_MORE_WRITING:
                raise
            _log.debug("%s", name, exc_info=True)
            self.failed += 1
            kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
            text = str(error) if isinstance(error, MediaError) else f"{name}: {kind}{error}"
            self.messages.append(f"error: {one_line(text)}")


class Record:
    """The finished jobs of an output folder, for ``--resume``: a line each.

    Each process writes a file of its own, for shared folders have no common end to append to. A
    line that was cut short equals none.
    """

    def __init__(self, folder: Path, config: Config, arguments: Namespace, rank: int = 0) -> None:
        self._folder = folder
        self._file = folder / f"{RECORD}.{rank}"
        model = config.model
        files = map(Path, filter(None, (model.weights, model.hand_model, model.localiser)))
        changed = [file.stat().st_mtime_ns for file in files if file.exists()]
        options = [str(getattr(arguments, name)) for name in _OPTIONS]
        settings = [__version__, sorted(config.as_mapping().items()), changed, options]
        self._settings = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]

    def start(self, jobs: Sequence[Job], resume: bool) -> list[Job]:
        """The jobs that are left to do: all of them, and an empty record, unless ``resume``."""
        files = list(self._folder.glob(f"{RECORD}.*"))
        if not resume:
            for file in files:
                file.unlink()
            return list(jobs)
        done = {line for file in files for line in file.read_text("ascii", "replace").split("\n")}
        return [job for job in jobs if not (self._line(job) in done and self._has_results(job))]

    def add(self, job: Job) -> None:
        """Note that a job is finished. Raises ``OSError``."""
        with self._file.open("a", encoding="ascii") as file:
            file.write(f"\n{self._line(job)}\n")  # the line before may have been cut short

    def _line(self, job: Job) -> str:
        path = Path(job.media.name).absolute()
        status = path.stat() if path.exists() else None  # it may be gone meanwhile
        version = status and (status.st_size, status.st_mtime_ns)
        return json.dumps([str(path), version, job.stem, self._settings])

    def _has_results(self, job: Job) -> bool:
        paths = result_paths(self._folder, job.stem, is_sequence=job.media.is_sequence)
        return next(paths, None) is not None
