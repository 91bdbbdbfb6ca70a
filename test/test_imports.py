"""Imports run one way: ros -> pipeline -> stages -> types, config; seen in fresh interpreters."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "dhpe_ros"
# Lowest first: each imports of these only those before it.
OFFLINE = tuple(
    f"dhpe_ros.{name}" for name in ("datasets", "synthetic", "open_hand", "training", "evaluation")
)
READERS = ("dhpe_ros.media.pictures",)  # a stage may be given the path of a picture
FACES = ("dhpe_ros.ros", "dhpe_ros.cli", "dhpe_ros.commands", "dhpe_ros.media")


def _modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE.parent).with_suffix("")
        yield ".".join(relative.parts).removesuffix(".__init__"), path


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _starts(name, prefixes):
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def test_only_the_ros_layer_knows_ros():
    ros = (
        "rclpy",
        "builtin_interfaces",
        "diagnostic_msgs",
        "geometry_msgs",
        "rcl_interfaces",
        "sensor_msgs",
        "std_msgs",
        "std_srvs",
        "vision_msgs",
        "visualization_msgs",
        "dhpe_ros.msg",
    )
    for module, path in _modules():
        if not _starts(module, ("dhpe_ros.ros",)):
            bad = [name for name in _imports(path) if _starts(name, ros)]
            assert not bad, f"{module} imports {bad}"


def test_stages_know_neither_the_faces_nor_training():
    for module, path in _modules():
        if not _starts(module, (*FACES, *OFFLINE)):
            names = _imports(path)
            bad = [n for n in names if _starts(n, (*FACES, *OFFLINE)) and not _starts(n, READERS)]
            assert not bad, f"{module} imports {bad}"


def test_the_offline_packages_import_downwards():
    exempt = {"dhpe_ros.training.train_localiser"}  # tells how good its weights are
    for module, path in _modules():
        for rank, package in enumerate(OFFLINE):
            if _starts(module, (package,)) and module not in exempt:
                bad = [name for name in _imports(path) if _starts(name, OFFLINE[rank + 1 :])]
                assert not bad, f"{module} imports {bad}"


def test_only_pipeline_and_above_know_the_order_of_the_stages():
    above = (*FACES, *OFFLINE, "dhpe_ros.pipeline", "dhpe_ros.tracking")
    for module, path in _modules():
        if not _starts(module, above):
            assert "dhpe_ros.pipeline" not in set(_imports(path)), module


def _run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_pipeline_and_the_command_line_run_without_ros():
    _run(
        "import sys; sys.modules['rclpy'] = None\n"
        "import dhpe_ros.pipeline, dhpe_ros.cli\n"
        f"assert not any(m.startswith({OFFLINE[:-1]!r}) for m in sys.modules)\n"
    )


def test_the_node_loads_no_training_module():
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    _run(
        "import sys, dhpe_ros.ros.node\n"
        f"loaded = [m for m in sys.modules if m.startswith({OFFLINE!r})]\n"
        "assert not loaded, loaded\n"
    )


def test_the_package_itself_imports_without_torch():
    _run("import sys; sys.modules['torch'] = None; import dhpe_ros; assert dhpe_ros.__version__")
