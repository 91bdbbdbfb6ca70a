"""``dhpe predict`` in several processes, with real files; the networks are untrained."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from dhpe_ros.cli.main import main
from dhpe_ros.media.clips import ClipWriter
from dhpe_ros.networks.weights import build_networks, save_networks
from dhpe_ros.system.threads import ahead, behind

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> list[str]:
    """Options for networks that see a hand in everything."""
    folder = tmp_path_factory.mktemp("untrained")
    save_networks(build_networks("lite"), folder / "lite.safetensors", {})
    (folder / "all.yaml").write_text("tracking: {min_score: 0.0, box: '0,0,60,60'}\n")
    options = ["--weights", str(folder / "lite.safetensors"), "--backend", "eager"]
    return [*options, "--config", str(folder / "all.yaml"), "--refine", "0", "--mesh", "none"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder with pictures in four formats, a damaged one, and two videos."""
    folder = tmp_path_factory.mktemp("inputs")
    for k, suffix in enumerate((".png", ".jpg", ".webp", ".bmp", ".png", ".jpg")):
        noise = np.random.default_rng(k).integers(0, 255, (60, 80, 3), np.uint8)
        cv2.imwrite(str(folder / f"p{k}{suffix}"), noise)
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff and no more")
    for name in ("a.mp4", "b.mkv"):
        with ClipWriter(folder / name, 10.0) as clip:
            for index in range(6):
                clip.write(np.full((64, 64, 3), 60 + 30 * index, np.uint8))
    return folder


def contents(folder: Path) -> dict[str, dict]:
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def assert_same(found: object, expected: object) -> None:
    """Equal but for the last digits of numbers."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == (
            pytest.approx(expected, abs=0.002) if isinstance(expected, float) else expected
        )


def living(group: int) -> list[int]:
    """Processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state not in "ZX":
                found.append(int(stat.parent.name))
    return found


def test_processes_give_what_one_gives(untrained, inputs, tmp_path, capsys):
    outputs = []
    for jobs in ("1", "2"):
        out = tmp_path / jobs
        options = ["--output", str(out), "--csv", str(out / "hands.csv"), "--jobs", jobs]
        assert main(["predict", str(inputs), *options, *untrained]) == 1
        said = capsys.readouterr()
        assert re.search(r"18 images, 18 hands, 1 failed in .*, eager -> ", said.out)
        assert "damaged.jpg: " in said.err
        assert "18/" in said.err  # the bar; videos promise more frames than they have
        outputs.append(out)
    one, two = outputs
    assert {p.name for p in one.iterdir()} == {p.name for p in two.iterdir()}
    assert_same(contents(two), contents(one))
    rows = [(out / "hands.csv").read_text().splitlines() for out in outputs]
    heads = [[row.split(",")[:5] for row in table] for table in rows]
    assert heads[0] == heads[1]
    assert len(rows[0]) == 19


def test_resume_does_what_is_left(untrained, inputs, tmp_path, capsys):
    out = tmp_path / "out"
    table = ["--csv", str(tmp_path / "hands.csv")]
    command = ["predict", str(inputs), "--output", str(out), "--no-overlay", *untrained, *table]
    assert main(command) == 1
    whole = (tmp_path / "hands.csv").read_text()
    kept = out / "p1.json"
    before = kept.stat().st_mtime_ns
    (out / "p2.json").unlink()
    (inputs / "p3.bmp").touch()  # it may have changed
    capsys.readouterr()
    assert main([*command, "--resume"]) == 1  # the damaged one is tried again
    said = capsys.readouterr()
    assert "6 of 9 inputs were done before" in said.err
    assert re.search("2 images, 2 hands, 1 failed", said.out)
    assert kept.stat().st_mtime_ns == before
    assert (tmp_path / "hands.csv").read_text() == whole
    record = out / ".dhpe_predict.0"
    record.write_text(record.read_text()[:-20])  # the computer went down
    assert main([*command, "--resume"]) == 1
    assert re.search("[12] images?, ", capsys.readouterr().out)
    assert main([*command, "--resume", "--side", "left"]) == 1
    assert "0 of 9 inputs were done before" in capsys.readouterr().err


def test_ctrl_c_ends_all_processes_and_resume_goes_on(untrained, inputs, tmp_path):
    with ClipWriter(tmp_path / "long.mp4", 10.0) as clip:
        for index in range(2000):
            clip.write(np.full((64, 64, 3), index % 200, np.uint8))
    out = tmp_path / "out"
    words = [sys.executable, "-m", "dhpe_ros.cli", "predict", str(tmp_path / "long.mp4")]
    words += [str(inputs), "--output", str(out), "--jobs", "2", *untrained]
    with subprocess.Popen(
        words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        until = time.monotonic() + 90
        while not (out / "p5.json").is_file() or not (out / "long_000000.json").is_file():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "add --resume" in errors
    assert "Traceback" not in errors
    assert re.search(r"\d+ images, ", said)
    assert cv2.VideoCapture(str(out / "long_overlay.mp4")).isOpened()
    while living(process.pid):  # none is left behind
        assert time.monotonic() < until
        time.sleep(0.05)
    record = (out / ".dhpe_predict.0").read_text()
    assert "p5.jpg" in record
    assert "long.mp4" not in record


def test_torchrun_shares_the_inputs(untrained, inputs, tmp_path):
    out = tmp_path / "out"
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += ["-m", "dhpe_ros.cli", "predict", str(inputs / "a.mp4")]
    words += [str(path) for path in sorted(inputs.glob("p*"))]
    words += ["--output", str(out), "--csv", str(out / "hands.csv"), "--no-overlay", *untrained]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" images, ") == 1
    assert "12 images, 12 hands" in done.stdout
    assert len(contents(out)) == 12
    assert len((out / "hands.csv").read_text().splitlines()) == 13
    for rank in (0, 1):
        assert len((out / f".dhpe_predict.{rank}").read_text().split()) > 3


def test_other_threads_keep_order_and_pass_errors_on():
    assert list(ahead(range(20))) == list(range(20))
    assert list(ahead([])) == []
    done: list[int] = []
    with behind(done.append) as later:
        for k in range(20):
            later(k)
    assert done == list(range(20))

    def refuse(_: int) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"), behind(refuse) as later:
        later(1)

    def breaking():
        yield 1
        raise ValueError("broken")

    numbers = ahead(breaking())
    assert next(numbers) == 1
    with pytest.raises(ValueError, match="broken"):
        next(numbers)
