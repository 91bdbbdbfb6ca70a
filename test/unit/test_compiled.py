"""Compiled kernels: their machine code is kept once for all copies, and never a wrong one."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from dhpe_ros.system import compiled

ROOT = Path(__file__).resolve().parents[2]
CALLEE = "from dhpe_ros.system.compiled import kernel\n\n@kernel\ndef inner(x):\n    return x + 1\n"
CALLER = (
    "from dhpe_ros.system.compiled import kernel\nfrom callee import inner\n"
    "from constants import FACTOR\n"
    "\n@kernel\ndef outer(x):\n    return FACTOR * inner(x)\n"
)


class Copies:
    """Small modules with kernels, written to folders and imported from there."""

    def __init__(self, folder, monkeypatch):
        self.folder, self._monkeypatch = folder, monkeypatch

    def load(self, name, callee=CALLEE, constant="FACTOR = 10\n"):
        """``outer`` of the copy in the folder of that name, in a process that knows no other."""
        for cached in (compiled._digest, compiled._folder_of, compiled._announce):
            cached.cache_clear()
        texts = {"constants": constant, "callee": callee, "caller": CALLER}
        (self.folder / name).mkdir()
        for module, text in texts.items():
            path = self.folder / name / f"{module}.py"
            path.write_text(text)
            spec = importlib.util.spec_from_file_location(module, path)
            loaded = importlib.util.module_from_spec(spec)
            self._monkeypatch.setitem(sys.modules, module, loaded)
            spec.loader.exec_module(loaded)
        return loaded.outer


@pytest.fixture
def copies(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    return Copies(tmp_path, monkeypatch)


def hits(kernel):
    return sum(kernel.stats.cache_hits.values())


def test_a_copy_elsewhere_uses_what_the_first_one_compiled(copies, caplog):
    first = copies.load("one")
    assert (first(1), hits(first)) == (20, 0)
    (line,) = caplog.messages
    assert "compiling kernels" in line
    assert f"once; what comes of it is kept in {copies.folder}/cache/dhpe_ros/kernels" in line
    caplog.clear()
    second = copies.load("other")
    assert (second(1), hits(second)) == (20, 1)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("changed", "result"),
    [({"callee": CALLEE.replace("+ 1", "+ 2")}, 30), ({"constant": "FACTOR = 20\n"}, 40)],
    ids=["the kernel it calls", "the constant it takes in"],
)
def test_what_another_file_changes_is_compiled_again(copies, changed, result):
    assert copies.load("before")(1) == 20
    assert copies.load("after", **changed)(1) == result


def test_where_nothing_can_be_written_kernels_run_all_the_same(copies, monkeypatch, caplog):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "/dev/null")
    assert copies.load("one")(1) == 20
    (line,) = caplog.messages
    assert "at each start: neither NUMBA_CACHE_DIR nor XDG_CACHE_HOME nor ~/.cache" in line


def test_a_folder_that_others_may_write_is_not_used(copies, caplog):
    root = copies.folder / "cache/dhpe_ros/kernels"
    root.mkdir(parents=True)
    root.chmod(0o777)
    assert copies.load("one")(1) == 20
    assert "at each start" in caplog.text
    assert list(root.iterdir()) == []


def test_damaged_machine_code_is_compiled_again(copies, caplog):
    copies.load("before")(1)
    for path in copies.folder.glob("cache/dhpe_ros/kernels/*/*.nb?"):
        path.write_bytes(path.read_bytes()[:-7])
    assert copies.load("after")(1) == 20
    assert "compiling it again" in caplog.text


def test_a_full_disk_is_said_and_survived(copies, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    outer = copies.load("one")
    monkeypatch.setattr(compiled.caching.IndexDataCacheFile, "save", full)
    assert outer(1) == 20
    assert "cannot be kept: " in caplog.text and "No space left" in caplog.text


def test_what_the_installation_brings_is_used_though_nothing_can_be_written(copies, monkeypatch):
    copies.load("built")(1)
    monkeypatch.setattr(compiled, "INSTALLED", copies.folder / "cache/dhpe_ros/kernels")
    monkeypatch.setattr(numba.config, "CACHE_DIR", "/dev/null")
    outer = copies.load("installed")
    assert (outer(1), hits(outer)) == (20, 1)


def test_the_package_loads_without_a_home_or_a_folder_to_write():
    program = "import dhpe_ros.hand.kernels.hand_kernels as o, dhpe_ros.system.compiled as c;"
    program += "print(c._folder_of(o.__name__))"
    environment = {**os.environ, "HOME": "/dev/null", "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        environment.pop(name, None)
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == "None", run.stderr


def test_every_kernel_is_kept_in_the_one_place():
    elsewhere = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "dhpe_ros").rglob("*.py")
        if path.name != "compiled.py"
        and re.search(r"from numba import .*jit|numba\.n?jit", path.read_text())
    ]
    assert elsewhere == []


def test_an_installation_compiles_all_that_the_first_frame_needs():
    program = """
import sys
from numba.core.dispatcher import Dispatcher
from dhpe_ros.cli.compile_kernels import main
from dhpe_ros.config import Config
from dhpe_ros.rendering.overlay import draw_overlay, hand_mask
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline

from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.tracking.tracker import HandTracker

def compiled():
    modules = [m for name, m in sys.modules.items() if name.startswith("dhpe_ros.")]
    kernels = {k for m in modules for k in vars(m).values() if isinstance(k, Dispatcher)}
    return {(k.__name__, str(signature)) for k in kernels for signature in k.signatures}

main()
before, (image, *_) = compiled(), [frame.image for frame in open_media(DEMO_CLIP).frames()]
hands = HandTracker(HandPipeline(Config())).process(image)
draw_overlay(image, hands), hand_mask(hands, *image.shape[:2])
print(len(hands), sorted(compiled() - before))
"""
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "1 []", run.stdout + run.stderr
