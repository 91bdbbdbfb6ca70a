"""Imports run one way: ros -> pipeline -> stages -> types, config; laboratory -> runtime."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LABORATORY = "dhpe_lab"
# Lowest first: each imports of these only those before it.
FLOORS = tuple(
    f"dhpe_lab.{name}"
    for name in (
        "rendering", "datasets", "synthesis", "hand_building", "training", "evaluation", "commands"
    )
)  # fmt: skip
READERS = ("dhpe_ros.media.pictures",)  # a stage may be given the path of a picture
FACES = ("dhpe_ros.ros", "dhpe_ros.cli", "dhpe_ros.media")


def _modules(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        relative = path.relative_to(ROOT).with_suffix("")
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


def test_the_runtime_never_imports_the_laboratory():
    for module, path in _modules("dhpe_ros"):
        bad = [name for name in _imports(path) if _starts(name, (LABORATORY,))]
        assert not bad, f"{module} imports {bad}"


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
    for module, path in (*_modules("dhpe_ros"), *_modules(LABORATORY)):
        if not _starts(module, ("dhpe_ros.ros",)):
            bad = [name for name in _imports(path) if _starts(name, ros)]
            assert not bad, f"{module} imports {bad}"


def test_stages_do_not_know_the_faces():
    for module, path in _modules("dhpe_ros"):
        if not _starts(module, FACES):
            names = _imports(path)
            bad = [n for n in names if _starts(n, FACES) and not _starts(n, READERS)]
            assert not bad, f"{module} imports {bad}"


def test_networks_do_not_know_what_runs_them():
    above = [f"dhpe_ros.{room}" for room in ("detection", "engines", "tracking", "pipeline")]
    for module, path in _modules("dhpe_ros"):
        if _starts(module, ("dhpe_ros.networks",)):
            bad = [name for name in _imports(path) if _starts(name, above)]
            assert not bad, f"{module} imports {bad}"


def test_no_module_of_the_faces_is_part_of_a_circle():
    modules = dict(_modules("dhpe_ros"))
    graph = {name: set(_imports(path)) & set(modules) - {name} for name, path in modules.items()}
    for start in modules:
        if _starts(start, FACES):
            reached, waiting = set(), [start]
            while waiting:
                new = graph[waiting.pop()] - reached
                reached |= new
                waiting += new
            assert start not in reached, f"{start} imports what imports it"


def test_the_laboratory_imports_downwards():
    tell = ("localiser", "lifting")  # how good their weights are
    exempt = {f"dhpe_lab.training.train_{name}" for name in tell}
    for module, path in _modules(LABORATORY):
        for rank, package in enumerate(FLOORS):
            if _starts(module, (package,)) and module not in exempt:
                bad = [name for name in _imports(path) if _starts(name, FLOORS[rank + 1 :])]
                assert not bad, f"{module} imports {bad}"


def test_only_pipeline_and_above_know_the_order_of_the_stages():
    above = (*FACES, "dhpe_ros.pipeline", "dhpe_ros.tracking.tracker")
    for module, path in _modules("dhpe_ros"):
        if not _starts(module, above):
            assert "dhpe_ros.pipeline" not in set(_imports(path)), module


def _run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_pipeline_and_the_command_line_run_without_ros():
    _run(
        "import sys; sys.modules['rclpy'] = None\n"
        "import dhpe_ros.pipeline, dhpe_ros.cli.predict\n"
        f"assert not any(m.startswith({LABORATORY!r}) for m in sys.modules)\n"
    )


def test_the_node_loads_nothing_of_the_laboratory():
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    _run(
        "import sys, dhpe_ros.ros.node\n"
        f"loaded = [m for m in sys.modules if m.startswith({LABORATORY!r})]\n"
        "assert not loaded, loaded\n"
    )


def test_a_pipeline_that_runs_loads_nothing_heavy_that_it_does_not_need():
    heavy = ("scipy.linalg", "scipy.sparse", "sympy", "nncf", "matplotlib", "torch._dynamo")
    compiler = "numba.np.linalg"  # which comes with all of numba's
    _run("import dhpe_ros.cli.compile_kernels as kernels; kernels.main()")  # kept from then on
    _run(
        "import sys, dhpe_ros.tracking.tracker\n"
        "from dhpe_ros.pipeline import HandPipeline\n"
        "HandPipeline().warm_up()\n"
        f"loaded = [m for m in sys.modules if m in {(*heavy, compiler)}]\n"
        "assert not loaded, loaded\n"
    )


def test_the_package_itself_imports_without_torch():
    _run("import sys; sys.modules['torch'] = None; import dhpe_ros; assert dhpe_ros.__version__")
