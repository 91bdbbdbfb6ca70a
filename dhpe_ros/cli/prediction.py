"""The work of ``dhpe predict``: inputs, processes, progress and summary."""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import multiprocessing
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dhpe_ros.cli.output_names import OutputNames, is_own_output, result_paths
from dhpe_ros.cli.predict_jobs import Job, Outcome, Record
from dhpe_ros.config import Config
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media import Media, is_bag, list_folder, open_media
from dhpe_ros.media.frames import needs
from dhpe_ros.media.hand_table import write_table
from dhpe_ros.system.errors import CommandError
from dhpe_ros.system.ranks import Ranks, own_cores

_WORTH = 32  # pictures, which one process does while another starts
_LOOK_S = 0.1  # between two updates of the progress bar


class Prediction:
    """One run of ``dhpe predict`` over all inputs; ``total`` counts what was done.

    ``arguments`` are the command's; ``intrinsics`` are for all inputs; ``ranks`` share the inputs.
    """

    def __init__(
        self,
        config: Config,
        arguments: argparse.Namespace,
        intrinsics: Camera | None,
        ranks: Ranks,
    ) -> None:
        self.total = Outcome()
        self._started = time.perf_counter()
        self._config = config
        self._arguments = arguments
        self._output: Path = arguments.output
        self._intrinsics = intrinsics
        self._ranks = ranks
        self._record = Record(self._output, config, arguments, ranks.rank)
        self._bar = tqdm(disable=True)
        self._jobs: list[Job] = []  # of the first rank: all, also those of an earlier run
        self._is_complete = False

    def run(self) -> None:
        """Process all inputs; failures are reported and counted.

        Raises ``OSError`` of writing, ``MediaError`` for a missing package of ``--rerun``, and
        ``CommandError`` for bad files, a bad device, or a process that was killed.
        """
        left = self._ranks.agree(self._left)
        own = left[self._ranks.rank :: self._ranks.count]
        frames = [job.frames for job in own]
        total = None if None in frames else sum(filter(None, frames))
        hidden = total in (0, 1) or self._ranks.rank > 0
        processes = self._processes(own)
        try:
            with tqdm(total=total, unit="image", disable=hidden) as self._bar:
                if processes > 1:
                    self._process_beside(own, processes)
                else:
                    self._process_here(own)
            totals = self._ranks.gather(self.total)
            self.total = Outcome()
            for one in totals:
                self.total.add(one)
            self._is_complete = True
        finally:
            if self._arguments.csv is not None and self._ranks.rank == 0:
                write_table(self._arguments.csv, self._results())

    def summary(self) -> str:
        """The counts in a line; none where the first rank has counted for all."""
        ranks, total = self._ranks, self.total
        if self._is_complete and ranks.rank > 0:
            return ""
        seconds = time.perf_counter() - self._started
        counts = [(total.images, "image"), (total.hands, "hand")]
        parts = [f"{number} {noun}{'s' * (number != 1)}" for number, noun in counts]
        if total.without_hand:
            parts.append(f"{total.without_hand} without a hand")
        if total.failed:
            parts.append(f"{total.failed} failed")
        each = f" ({seconds / total.images:.2g} s each)" if total.images else ""
        whose = "" if self._is_complete or ranks.count == 1 else f"process {ranks.rank}: "
        backend = f", {total.backend}" if total.backend else ""
        return f"{whose}{', '.join(parts)} in {seconds:.1f} s{each}{backend} -> {self._output}\n"

    def _left(self) -> list[Job]:
        """The jobs to do; the first rank asks."""
        media = list(self._open_inputs(self._arguments.inputs))
        names = OutputNames(self._output, (Path(one.name) for one in media))
        for one in media:
            path = Path(one.name)
            stem = names.claim(path, is_sequence=one.is_sequence)
            if stem != path.stem:
                self._tell(f"{path}: written as {stem}: its own name is taken or too long")
            self._jobs.append(Job(one, stem, self._expected(one)))
        left = self._record.start(self._jobs, self._arguments.resume)
        if self._arguments.resume:
            done = len(self._jobs) - len(left)
            self._tell(f"{done} of {len(self._jobs)} inputs were done before, with these options")
        return left

    def _open_inputs(self, paths: Iterable[Path]) -> Iterator[Media]:
        config = self._config
        for path in paths:
            with self._survived(path):
                if path.is_dir() and not is_bag(path):
                    yield from self._open_inputs(list_folder(path, is_own_output))
                elif path.parent.resolve() == self._output.resolve() and is_own_output(path):
                    self._tell(f"{path}: left out, written by an earlier run")
                else:
                    limit = config.media.max_megapixels
                    topic, depth = self._arguments.topic, self._arguments.depth
                    yield open_media(path, topic, config.camera.images, limit, depth)

    @contextmanager
    def _survived(self, path: Path) -> Iterator[None]:
        outcome = Outcome()
        with outcome.survived(path):
            yield
        self._count(outcome)

    def _expected(self, media: Media) -> int | None:
        limit = self._arguments.frames if media.is_sequence else None
        return min(filter(None, (media.count, limit)), default=None)

    def _processes(self, jobs: list[Job]) -> int:
        """Number of processes that are worth their start."""
        given = self._arguments
        if given.rerun is not None:  # one recording, in order
            return 1
        if given.jobs is not None:
            return min(given.jobs, max(1, len(jobs)))
        frames = sum(_WORTH if job.frames is None else job.frames for job in jobs)
        most = min(len(jobs), frames // _WORTH)
        return 1 if most < 2 or _uses_gpu(self._config.model.device) else min(most, own_cores())

    def _process_here(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        from dhpe_ros.cli.predict_worker import Worker

        given = self._arguments
        with ExitStack() as stack:
            shared = []
            if given.rerun is not None:
                with needs("rerun-sdk", f"--rerun {given.rerun}"):
                    from dhpe_ros.media.rerun_recording import RerunRecording
                recording = RerunRecording(given.rerun, bool(given.depth))
                shared.append(stack.enter_context(recording).write)
            update = self._bar.update
            worker = Worker(self._config, given, self._intrinsics, update, shared=shared)
            for job in jobs:
                outcome = Outcome()
                try:
                    worker.process(job, outcome)
                finally:
                    self._take(job, outcome)

    def _process_beside(self, jobs: list[Job], processes: int) -> None:
        from dhpe_ros.cli.predict_worker import process_job, start_process

        spawn = multiprocessing.get_context("spawn")
        frames, stop = spawn.Value("q", 0), spawn.Event()
        threads = self._config.model.threads or max(1, own_cores() // processes)
        config = self._config.replace({"model.threads": threads})
        given = (config, self._arguments, self._intrinsics, frames, stop)
        remaining = iter(sorted(jobs, key=_length, reverse=True))  # so that all end together
        with ProcessPoolExecutor(processes, spawn, start_process, given) as pool:
            working: dict[Future[Outcome], Job] = {}

            def submit(number: int) -> None:
                for job in islice(remaining, number):
                    working[pool.submit(process_job, job)] = job

            def take(future: Future[Outcome]) -> None:
                job = working.pop(future)
                self._take(job, future.result())

            try:
                with _without_ctrl_c():
                    submit(2 * processes)  # of which one waits for each process
                while working:
                    for future in wait(working, _LOOK_S, FIRST_COMPLETED).done:
                        take(future)
                        submit(1)
                    self._bar.update(frames.value - self._bar.n)
            except BrokenProcessPool as error:
                raise CommandError(
                    "a process was killed, perhaps for want of memory; go on with --resume and "
                    f"fewer than --jobs {processes}"
                ) from error
            finally:  # also of Ctrl-C: what has begun ends after this frame
                stop.set()
                pool.shutdown(cancel_futures=True)
                for future in list(working):
                    if not future.cancelled() and future.exception() is None:
                        take(future)

    def _take(self, job: Job, outcome: Outcome) -> None:
        self._count(outcome)
        if outcome.is_finished:
            self._record.add(job)

    def _count(self, outcome: Outcome) -> None:
        self.total.add(outcome)
        for message in outcome.messages:
            self._tell(message)

    def _results(self) -> Iterator[Any]:
        """Contents of the JSON files of all inputs, in order."""
        for job in self._jobs:
            is_sequence = job.media.is_sequence
            for path in result_paths(self._output, job.stem, is_sequence=is_sequence):
                yield json.loads(path.read_bytes())

    def _tell(self, text: str) -> None:
        tqdm.write(f"dhpe: {text}", file=sys.stderr)


def _length(job: Job) -> float:
    return math.inf if job.frames is None else job.frames


def _uses_gpu(device: str) -> bool:
    if device != "auto":
        return device != "cpu"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:  # no driver: asking torch, which takes a second to import, is needless
        return False
    from dhpe_ros.system.devices import torch_device

    return torch_device(device).type != "cpu"


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Keep Ctrl-C for later, and from processes that start meanwhile."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
