"""Start and end of the nodes, with a context that a signal shuts down at a bad moment."""

import signal
import subprocess
import sys

import pytest
import rclpy
from rclpy.node import Node

from dhpe_ros.ros.running import run


class Brief(Node):
    """Calls ``then`` from its first timer, and counts how often it was stopped."""

    def __init__(self, then):
        super().__init__("brief")
        self.stopped = 0
        self.create_timer(0.01, then)

    def stop(self):
        self.stopped += 1


@pytest.fixture(autouse=True)
def signals_as_before():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def shut_down_and_fail():
    rclpy.shutdown()
    raise RuntimeError("failed to initialize wait set: the given context is not valid")


def fail():
    raise RuntimeError("a bug")


def run_brief(then):
    nodes = []

    def make():
        nodes.append(Brief(then))
        return nodes[0]

    code = run("brief", make, [], stop=Brief.stop)
    return code, nodes[0]


def test_what_fails_because_the_context_was_shut_down_is_an_ending_like_any_other():
    code, node = run_brief(shut_down_and_fail)
    assert (code, node.stopped) == (0, 1)


def test_a_failure_of_a_living_node_is_not_hidden():
    with pytest.raises(RuntimeError, match="a bug"):
        run_brief(fail)
    assert not rclpy.ok()


def test_a_signal_while_the_node_is_made_is_an_ending_too():
    assert run("brief", shut_down_and_fail, []) == 0


INTERRUPTED = """
import os, signal, rclpy
from rclpy.node import Node
from dhpe_ros.ros.running import run

class Brief(Node):
    def __init__(self):
        super().__init__("brief")
        self.create_timer(0.01, lambda: os.kill(os.getpid(), signal.SIGINT))

code = run("brief", Brief, [], stop=lambda _: print("context is alive:", rclpy.ok()))
print("code:", code)
"""


def test_it_stops_once_rclpy_s_thread_of_signals_is_done_which_a_shutdown_would_crash():
    command = [sys.executable, "-c", INTERRUPTED]  # rclpy installs its handlers once in a process
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert said.stdout == "context is alive: False\ncode: 0\n", said.stderr


@pytest.mark.parametrize("error", [ValueError("no such clip"), RuntimeError("out of memory")])
def test_a_node_that_cannot_be_made_is_one_line_and_a_failure(capfd, error):
    def make():
        raise error

    assert run("brief", make, []) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "FATAL" in line]
    assert f"cannot start: {error}" in line.replace("RuntimeError: ", "")


@pytest.mark.parametrize("words", [["--foo"], ["clip.mp4", "--ros-args", "-p", "a:=1"]])
def test_an_argument_that_is_not_of_ros_is_one_line_and_a_failure(capfd, words):
    assert run("brief", shut_down_and_fail, words) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "FATAL" in line]
    assert f"unknown argument '{words[0]}'" in line and "--ros-args -p NAME:=VALUE" in line


def test_wrong_ros_arguments_are_one_line_and_a_failure(capfd):
    assert run("brief", shut_down_and_fail, ["--ros-args", "-p", "nonsense"]) == 1
    assert "cannot start: " in capfd.readouterr().err
