"""Installs the Python package alone: no messages, so no node, but the pipeline and ``dhpe``.

A ROS 2 workspace builds the whole package with CMakeLists.txt instead. Everything that is fixed is
declared in setup.cfg; here are the folders beside the package, which become part of it: wherever
pip puts the package, `dhpe_ros.files.resources` finds them.
"""

from setuptools import find_packages, setup

SHARED = {f"dhpe_ros.shared.{folder}": folder for folder in ("config", "msg", "weights")}

setup(
    packages=[*find_packages(include=["dhpe_ros*", "dhpe_lab*"]), *SHARED],
    package_dir=SHARED,
    package_data={name: ["*.*", "*/*.*"] for name in SHARED}
    | {"dhpe_lab": ["evaluation/report/*.jinja"]}
    | {"dhpe_ros": ["assets/*.json", "assets/*.mp4", "assets/*.npz"]},
)
