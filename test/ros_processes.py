"""The node and a camera as processes of their own, and ears in the test's."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import rclpy
import shared_memory
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseArray
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2
from visualization_msgs.msg import MarkerArray

import dhpe_ros
from dhpe_ros.msg import HandArray, HandMeshArray

HERE = Path(__file__).resolve().parent
PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))  # times as long to wait, on a busy machine
SOURCES = Path(dhpe_ros.__file__).resolve().parents[1]  # the same for all processes
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, (str(SOURCES), os.environ.get("PYTHONPATH")))),
}
FAKE = (str(HERE / "fake_tracker.py"),)
REAL = ("-m", "dhpe_ros.ros.node")
TOPICS = {
    "hands": HandArray,
    "meshes": HandMeshArray,
    "poses/left": PoseArray,
    "poses/right": PoseArray,
    "joint_states": JointState,
    "mask": Image,
    "camera_info": CameraInfo,
    "markers": MarkerArray,
    "points": PointCloud2,
    "overlay": Image,
}
# They need a depth image to come.
DEPTH_TOPICS = {"depth_without_hands": Image, "grasped_object": PointCloud2}


class NodeProcess:
    """``python <program> --ros-args <arguments>``; what it says is in ``log()``."""

    def __init__(self, folder, program, *arguments):
        self._log = Path(folder) / "node.log"
        self._shared_memory_before = shared_memory.segments()
        with open(self._log, "w") as log:
            command = [sys.executable, *program, "--ros-args", *arguments]
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=HERE.parent, env=ENVIRONMENT
            )

    def log(self):
        return self._log.read_text()

    def wait_for(self, words, timeout_s=300.0):
        end = time.monotonic() + timeout_s * PATIENCE
        while words not in self.log():
            assert self._process.poll() is None, f"the node ended:\n{self.log()}"
            assert time.monotonic() < end, f"no {words!r} in:\n{self.log()}"
            time.sleep(0.05)

    def peak_memory_kib(self):
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    def exit_code(self, timeout_s=60.0):
        return self._process.wait(timeout_s * PATIENCE)

    def interrupt(self, sent=signal.SIGINT):
        """Send the signal; the exit code."""
        self._process.send_signal(sent)
        return self.exit_code(20)

    def close(self):
        """End it, gently if it lets us."""
        if self._process.poll() is not None:
            return
        try:
            self.interrupt()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            shared_memory.remove_unused_since(self._shared_memory_before)


class CameraProcess:
    """``camera_process.py``; ``send`` returns the stamps of the images sent."""

    def __init__(self, *arguments, profile=True, namespace=""):
        """``profile`` is false for a camera that does not know of our DDS profile."""
        command = [sys.executable, str(HERE / "camera_process.py"), *arguments]
        command += ["--ros-args", "-r", f"__ns:=/{namespace}"]
        environment = {k: v for k, v in ENVIRONMENT.items() if profile or "PROFILES_FILE" not in k}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
            env=environment,
        )
        assert self._process.stdout.readline() == "ready\n"

    def send(self, kind="noise", **orders):
        self._process.stdin.write(json.dumps({"kind": kind, **orders}) + "\n")
        self._process.stdin.flush()
        return [tuple(stamp) for stamp in json.loads(self._process.stdout.readline())]

    def close(self):
        self._process.stdin.close()
        self._process.wait(20 * PATIENCE)


class Ears:
    """Hears the topics of ``/hand`` and calls its services."""

    def __init__(self, node_name="hand", topics=(*TOPICS, *DEPTH_TOPICS)):
        self.node = rclpy.create_node("ears")
        self.heard = {name: [] for name in (*topics, "diagnostics")}
        self._name = node_name
        self._clients = {}
        for name in topics:
            kind = {**TOPICS, **DEPTH_TOPICS}[name]
            self._listen(kind, f"{node_name}/{name}", self.heard[name])
        self._listen(DiagnosticArray, "/diagnostics", self.heard["diagnostics"])

    def _listen(self, kind, topic, heard):
        self.node.create_subscription(kind, topic, heard.append, QoSProfile(depth=20))

    def forget(self):
        for heard in self.heard.values():
            heard.clear()

    def until(self, happened, timeout_s=20.0):
        """Spin until ``happened()``; whether it did."""
        end = time.monotonic() + timeout_s * PATIENCE
        while not happened() and time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.05)
        return happened()

    def spin(self, seconds):
        self.until(lambda: False, seconds)

    def of(self, topic, stamp):
        """The messages of ``topic`` that carry ``stamp``."""
        return [m for m in self.heard[topic] if stamp_of(m) == stamp]

    def diagnostics(self):
        """The last status of the node, or None."""
        heard = [message.status[0] for message in self.heard["diagnostics"]]
        ours = [status for status in heard if status.name == f"/{self._name}: hands"]
        return ours[-1] if ours else None

    def status(self):
        """The message of the last diagnostic."""
        status = self.diagnostics()
        return status.message if status else ""

    def level(self):
        """The level of the last diagnostic: 0 for OK, 1 for WARN, 2 for ERROR."""
        return self.diagnostics().level[0]

    def values(self):
        """The values of the last diagnostic."""
        return {pair.key: pair.value for pair in self.diagnostics().values}

    def value(self, key):
        """A value of the last diagnostic; None where it has none."""
        messages = self.heard["diagnostics"][-1:]
        return next((p.value for m in messages for p in m.status[0].values if p.key == key), None)

    def hands_of(self, stamp, timeout_s=60.0):
        """The HandArray of an image."""
        arrived = self.until(lambda: self.of("hands", stamp), timeout_s)
        assert arrived, f"no hands of {stamp}, only of {[stamp_of(m) for m in self.heard['hands']]}"
        return self.of("hands", stamp)[0]

    def call(self, kind, service, request):
        """The response of ``~/service``; calls are such as may be made twice.

        A server that has only just been discovered may not have discovered the client yet: then
        its response is lost, and only a further call is answered.
        """
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, f"{self._name}/{service}")
        client = self._clients[service]
        assert client.wait_for_service(10.0 * PATIENCE)
        for _ in range(4):
            future = client.call_async(request)
            rclpy.spin_until_future_complete(self.node, future, timeout_sec=5.0 * PATIENCE)
            if future.done():
                return future.result()
            client.remove_pending_request(future)
        raise AssertionError(f"{self._name}/{service} does not answer")

    def set(self, **values):
        """Set parameters, ``__`` for the dot; the result with ``successful`` and ``reason``."""
        request = SetParametersAtomically.Request()
        for name, value in values.items():
            parameter = Parameter(name=name.replace("__", "."), value=_value(value))
            request.parameters.append(parameter)
        return self.call(SetParametersAtomically, "set_parameters_atomically", request).result


def stamp_of(message):
    header = message.header if hasattr(message, "header") else message.markers[0].header
    return header.stamp.sec, header.stamp.nanosec


def _value(value):
    field, kind = {
        bool: ("bool_value", ParameterType.PARAMETER_BOOL),
        int: ("integer_value", ParameterType.PARAMETER_INTEGER),
        float: ("double_value", ParameterType.PARAMETER_DOUBLE),
        str: ("string_value", ParameterType.PARAMETER_STRING),
    }[type(value)]
    return ParameterValue(type=kind, **{field: value})
