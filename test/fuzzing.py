"""Mutated inputs for what reads from outside, in a process of its own whose memory is bounded.

A reader works or raises the errors that it documents. It neither crashes nor fills the memory.
"""

import faulthandler
import os
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 30_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """``data`` with one to three changes, half of them near its beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        if not changed:
            break
        near = min(len(changed), 64) if rng.random() < 0.5 else len(changed)
        at, length = rng.randrange(near), rng.randint(1, 16)
        kind = rng.randrange(7)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.randrange(256)
        elif kind == 2:
            number, size = rng.choice(_NUMBERS), rng.choice((1, 2, 4))
            number &= 256**size - 1
            changed[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
        elif kind == 3:
            del changed[at : at + length]
        elif kind == 4:
            changed[at:at] = changed[at : at + length] * rng.choice((1, 1, 1, 100))
        elif kind == 5:
            other = rng.choice(others)
            begin = rng.randrange(len(other))
            changed[at : at + length] = other[begin : begin + length]
        else:
            del changed[rng.randrange(len(changed)) :]
    return bytes(changed)


def fuzz(read, seeds, errors, rounds, megabytes=200):
    """Call ``read(path)`` on mutations of ``seeds``; fail on other exceptions than ``errors``.

    The process may take ``megabytes`` more than it has. Run it by `in_child`.
    """
    faulthandler.enable()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(os.environ.get("FUZZ_KEEP", folder)) / "input"
        for seed in seeds:  # each of them works, and what is imported late is there
            path.write_bytes(seed)
            read(path)
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        rng, works = random.Random(7), 0
        for number in range(rounds):
            data = mutated(rng.choice(seeds), seeds, rng)
            path.write_bytes(data)
            try:
                read(path)
                works += 1
            except errors:
                pass
            except BaseException:
                print(f"round {number}: {len(data)} bytes {data[:400]!r}", file=sys.stderr)
                raise
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kib
        assert grown_kib < megabytes * 2**10, f"{grown_kib} KiB more than before"
        print(works, "of", rounds, "were read")


def in_child(call: str):
    """Run ``module.function(arguments)`` of these tests in a process; what it said."""
    folders = [HERE.parent, HERE, *filter(Path.is_dir, HERE.iterdir())]
    path = os.pathsep.join((*map(str, folders), os.environ.get("PYTHONPATH", "")))
    result = subprocess.run(
        [sys.executable, "-c", f"import {call.split('.')[0]}; {call}"],
        env={**os.environ, "PYTHONPATH": path, "OPENCV_LOG_LEVEL": "SILENT"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, f"{call} ended with {result.returncode}\n{result.stderr[-4000:]}"
    return result.stdout
