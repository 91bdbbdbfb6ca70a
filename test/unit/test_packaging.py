"""Declarations in several files agree, and an installation can be used."""

import ast
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import dhpe_ros

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = Path(sys.prefix) / "share" / "dhpe_ros" / "package.xml"

needs_installation = pytest.mark.skipif(
    not INSTALLED.exists(), reason="dhpe_ros is not installed beside this Python: run make setup"
)


@pytest.fixture(scope="module")
def manifest():
    return ElementTree.parse(ROOT / "package.xml").getroot()


@pytest.fixture(scope="module")
def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def pinned(name: str) -> dict[str, str]:
    """Package -> version of a requirements file; fails on a line without an exact version."""
    versions = {}
    for line in (ROOT / "requirements" / name).read_text().splitlines():
        line = line.split("#")[0].strip()
        if line and not line.startswith("-"):
            package, version = re.fullmatch(r"([\w.-]+)==([\w.]+)(?:; .+)?", line).groups()
            versions[package] = version
    return versions


def declared_programs(setup_cfg) -> dict[str, str]:
    lines = setup_cfg["options.entry_points"]["console_scripts"].strip().splitlines()
    return dict(re.split(r"\s*=\s*", line) for line in lines)


# ---------------------------------------------------------------- declarations


def test_one_version_everywhere(manifest):
    assert manifest.findtext("version") == dhpe_ros.__version__


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of catkin_pkg itself
def test_bloom_can_read_the_changelog_and_finds_the_version():
    changelog = pytest.importorskip("catkin_pkg.changelog", reason="needs catkin-pkg")
    docutils = pytest.importorskip("docutils.core", reason="needs docutils")
    text = (ROOT / "CHANGELOG.rst").read_text()
    docutils.publish_doctree(text, settings_overrides={"halt_level": 2})  # a warning is an error
    read = changelog.get_changelog_from_path(ROOT, "dhpe_ros")
    assert dhpe_ros.__version__ in [version for version, _, _ in read.foreach_version()]


def test_what_the_node_runs_without_is_no_run_time_dependency(manifest):
    needed = {one.text for tag in ("depend", "exec_depend") for one in manifest.iter(tag)}
    assert needed.isdisjoint(("rviz2", "moveit_msgs", "vision_msgs"))


def imported_ros_packages() -> set[str]:
    """ROS packages that the runtime and the launch files import."""
    files = [*(ROOT / "dhpe_ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    ros = r"rclpy|launch\w*|ament_\w+|tf2_\w+|\w+_(msgs|srvs|interfaces)"
    return {name for name in names if re.fullmatch(ros, name)}


def test_every_ros_package_that_is_imported_is_declared(manifest):
    declared = {one.text for tag in ("depend", "exec_depend") for one in manifest.iter(tag)}
    tested = {one.text for one in manifest.iter("test_depend")}  # what the node runs without
    assert imported_ros_packages() <= declared | tested
    assert {"rclpy", "sensor_msgs", "launch_ros"} <= imported_ros_packages()


def test_build_type_makes_messages(manifest):
    # ament_python would be accepted, and silently build no messages.
    assert manifest.findtext("export/build_type") == "ament_cmake"
    assert manifest.findtext("member_of_group") == "rosidl_interface_packages"


def test_maintainer_has_an_address_that_colcon_accepts(manifest):
    # With any other, colcon treats the package as plain Python, without a word.
    assert re.fullmatch(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", manifest.find("maintainer").get("email"))


def test_every_message_file_is_built():
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert {p.name for p in (ROOT / "msg").iterdir()} == set(re.findall(r"msg/(\w+\.msg)", cmake))


def installed_programs() -> dict[str, str]:
    """Those of CMake: name -> module."""
    cmake = (ROOT / "CMakeLists.txt").read_text()
    return dict(re.findall(r"install_program\((\w+) ([\w.]+)", cmake))


def test_pip_puts_one_program_on_path_and_cmake_has_it_too(setup_cfg):
    assert declared_programs(setup_cfg) == {"dhpe": f"{installed_programs()['dhpe']}:main"}


def test_every_program_has_a_main():
    for module in installed_programs().values():
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert "main" in names, module


def test_every_folder_of_python_files_is_a_package():
    folders = {p.parent for name in ("dhpe_ros", "dhpe_lab") for p in (ROOT / name).rglob("*.py")}
    assert [str(f) for f in folders if not (f / "__init__.py").exists()] == []


def test_no_module_hides_the_messages():
    taken = {"msg", "srv", "action"}
    assert not taken & {p.stem for p in (ROOT / "dhpe_ros").iterdir()}


def test_requirements_are_exact_and_no_package_is_named_twice():
    files = ("common.txt", "ros-wheels.txt", "constraints.txt", "development.txt", "docs.txt")
    names = [package.lower() for file in files for package in pinned(file)]
    assert sorted(names) == sorted(set(names))
    assert pinned("ros-installed.txt") and pinned("open-hand.txt") and pinned("training.txt")


def test_every_run_time_import_is_declared_for_pip_and_pinned(setup_cfg):
    declared = {name.lower() for name in setup_cfg["options"]["install_requires"].split()}
    for ros in ("ros-installed.txt", "ros-wheels.txt"):
        brought = {
            *pinned("common.txt"),
            *(pinned(ros).keys() & {"numpy", "opencv-python-headless"}),
        }
        assert declared == {name.lower() for name in brought}


def test_pixi_brings_what_pip_brings(setup_cfg):
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    pixi = tomllib.loads((ROOT / "pixi.toml").read_text())
    brought = {*pixi["dependencies"], *pixi["pypi-dependencies"]}
    conda = {"torch": "pytorch", "opencv-python-headless": "opencv"}
    names = setup_cfg["options"]["install_requires"].lower().split()
    assert {conda.get(name, name) for name in names} <= brought
    assert set(pixi["feature"]) == {"humble", "jazzy", "lyrical"}


def test_viewers_show_topics_that_the_node_has():
    topics = {*re.findall(r"`~/(\w+)`", (ROOT / "docs/reference/topics.md").read_text())}
    layout = json.loads((ROOT / "config/foxglove.json").read_text())
    for text in (json.dumps(layout), (ROOT / "config/hand.rviz").read_text()):
        shown = set(re.findall(r"/hand/(\w+)", text))
        assert "markers" in shown
        assert shown <= topics
    panels = re.findall(r'"([^"]+![^"]+)"', json.dumps(layout["layout"]))
    assert sorted(panels) == sorted(layout["configById"])


# ---------------------------------------------------------------- imports


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_importing_the_package_loads_neither_torch_nor_ros():
    program = "import sys, dhpe_ros; print(sorted({'torch', 'rclpy', 'cv2'} & set(sys.modules)))"
    result = run(sys.executable, "-c", program, cwd=ROOT)
    assert result.stdout.strip() == "[]", result.stderr


@needs_installation
@pytest.mark.parametrize("folder", [ROOT, Path("/")], ids=["source tree", "elsewhere"])
def test_messages_and_package_import_from(folder):
    program = "import dhpe_ros.msg, dhpe_ros.types; print(dhpe_ros.__version__)"
    result = run(sys.executable, "-c", program, cwd=folder)
    assert result.stdout.strip() == dhpe_ros.__version__, result.stderr


# ---------------------------------------------------------------- the installation


TELL = """
import sys
from dhpe_ros.system.programs import command
from dhpe_ros.files.resources import shared_file
for name in (
    "weights/lite.safetensors",
    "config/fastdds.xml",
    "config/retarget/leap_left.yaml",
    "msg/Hand.msg",
):
    print(shared_file(name))
print(command("export"))
print(command("predict"))
"""


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """Folder of ``pip install --target``, from a copy of the sources with small weights."""
    sources, folder = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("target")
    for name in ("dhpe_ros", "dhpe_lab", "config", "msg"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    (sources / "weights").mkdir()
    (sources / "weights/lite.safetensors").write_bytes(b"small")
    for name in ("setup.py", "setup.cfg", "LICENSE", "NOTICE", "README.md"):
        shutil.copy(ROOT / name, sources)
    words = "-m pip install --quiet --no-deps --no-build-isolation --no-compile --target"
    made = run(sys.executable, *words.split(), folder, sources, cwd=sources)
    assert made.returncode == 0, made.stderr
    return folder


def told(package: Path, cwd: Path) -> list[str]:
    """Files that the package in this folder finds, and the names it has for commands."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    command = [sys.executable, "-c", TELL]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_pip_installs_weights_and_messages_with_the_package(target, tmp_path):
    *files, export, _ = told(target, tmp_path)
    for file in files:
        assert Path(file).is_relative_to(target / "dhpe_ros/shared")
    assert [p.name for p in (target / "bin").iterdir()] == ["dhpe"]
    assert export == f"{target}/bin/dhpe export"


def test_in_a_ros_workspace_files_are_in_share_and_commands_are_those_of_ros2_run(target, tmp_path):
    site = tmp_path / "lib/python3.11/site-packages"
    shutil.copytree(target / "dhpe_ros", site / "dhpe_ros", ignore=shutil.ignore_patterns("shared"))
    shutil.copytree(target / "dhpe_ros/shared", tmp_path / "share/dhpe_ros")
    (tmp_path / "lib/dhpe_ros").mkdir()
    for name in ("dhpe", "export"):
        (tmp_path / "lib/dhpe_ros" / name).touch()
    *files, export, predict = told(site, tmp_path)
    assert all(Path(file).is_relative_to(tmp_path / "share/dhpe_ros") for file in files)
    assert export == "ros2 run dhpe_ros export"
    assert predict == "ros2 run dhpe_ros dhpe predict"


def test_in_the_source_tree_files_are_those_of_the_sources(tmp_path):
    *files, export, _ = told(ROOT, tmp_path)
    assert all(Path(file).is_relative_to(ROOT) for file in files)
    assert export.endswith(("dhpe export", "-m dhpe_ros.cli export"))


@needs_installation
def test_installation_holds_every_file_of_the_sources():
    site = next((Path(sys.prefix) / "lib").glob("python3.*/site-packages/dhpe_ros"))
    missing = [
        str(path.relative_to(ROOT))
        for folder, target in (
            ("dhpe_ros", site),
            ("config", INSTALLED.parent / "config"),
            ("launch", INSTALLED.parent / "launch"),
            ("weights", INSTALLED.parent / "weights"),
        )
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if not (target / path.relative_to(ROOT / folder)).is_file()
    ]
    assert missing == [], "run make setup"


@needs_installation
@pytest.mark.parametrize("program", ["bin/dhpe", "lib/dhpe_ros/dhpe"])
def test_the_command_starts_from_anywhere(program, tmp_path):
    result = run(Path(sys.prefix) / program, "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "predict" in result.stdout


@needs_installation
def test_ros2_run_finds_the_node():
    node = Path(sys.prefix) / "lib" / "dhpe_ros" / "hand_node"
    assert os.access(node, os.X_OK)
