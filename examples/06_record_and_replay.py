"""Records hands, and plays them again: ``python examples/06_record_and_replay.py record FOLDER``.

Ctrl-C ends the recording. ``replay FOLDER`` publishes it, for tests without a camera.
``ros2 bag record /hand/hands`` and ``ros2 bag play`` do the same where they are installed.
"""

import sys
import time
from contextlib import suppress
from pathlib import Path

import rclpy
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dhpe_ros.files.resources import shared_file
from dhpe_ros.msg import HandArray

TOPIC, KIND = "/hand/hands", "dhpe_ros/msg/HandArray"


def record(node: Node, folder: Path) -> None:
    types = get_typestore(Stores.LATEST)
    for name in ("Hand", "HandArray"):  # a recording carries the definition of its messages
        text = shared_file(f"msg/{name}.msg").read_text()
        types.register(get_types_from_msg(text, f"dhpe_ros/msg/{name}"))
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        connection = bag.add_connection(TOPIC, KIND, typestore=types)

        def write(data: bytes) -> None:
            bag.write(connection, time.time_ns(), data)
            print(".", end="", flush=True)

        # raw: the bytes of a message are what a recording holds
        node.create_subscription(HandArray, TOPIC, write, 10, raw=True)
        with suppress(KeyboardInterrupt, ExternalShutdownException):
            rclpy.spin(node)  # then the outer "with" completes the recording


def replay(node: Node, folder: Path) -> None:
    publisher = node.create_publisher(HandArray, TOPIC, 10)
    print("waiting for a subscriber of", publisher.topic_name, flush=True)
    while not publisher.get_subscription_count():
        time.sleep(0.1)
    with AnyReader([folder]) as bag:
        ahead_ns = time.time_ns() - bag.start_time
        for _, stamp_ns, data in bag.messages(c for c in bag.connections if c.topic == TOPIC):
            time.sleep(max(0.0, (stamp_ns + ahead_ns - time.time_ns()) / 1e9))
            publisher.publish(data)
        publisher.wait_for_all_acked(Duration(seconds=5))  # else the last ones go with us


if __name__ == "__main__":
    rclpy.init()
    {"record": record, "replay": replay}[sys.argv[1]](Node(sys.argv[1]), Path(sys.argv[2]))
