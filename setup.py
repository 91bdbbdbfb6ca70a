"""Installs the Python package alone: no messages, so no node, but the pipeline and ``dhpe``.

A ROS 2 workspace builds the whole package with CMakeLists.txt instead. Everything that is fixed is
declared in setup.cfg; only the files of weights and messages have to be looked up.
"""

from glob import glob

from setuptools import setup

setup(
    data_files=[
        ("share/dhpe_ros/weights", sorted(glob("weights/*.*"))),
        ("share/dhpe_ros/msg", sorted(glob("msg/*.msg"))),
    ]
)
