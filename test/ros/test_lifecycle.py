"""The managed node as a process: transitions by its services, and images only for subscribers."""

import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from ros_processes import ENVIRONMENT, FAKE, PATIENCE, REAL, Ears, NodeProcess
from visualization_msgs.msg import Marker

OK, ANY_AGE = 0, ("-p", "max_age:=0.0")
ON_DEMAND = ("-p", "autostart:=false")


pytestmark = pytest.mark.usefixtures("ros")


class Managed:
    """A node as a process, and a manager that asks for its transitions."""

    def __init__(self, folder, name, program, *arguments):
        self.process = NodeProcess(folder, program, "-r", f"__node:={name}", *ANY_AGE, *arguments)
        self.ears = Ears(name, topics=())
        self.process.wait_for("ready" if arguments[:2] != ON_DEMAND else "waiting to be configured")
        assert not self.change(label="none"), "and from now on each is answered at once"

    def change(self, transition=0, label=""):
        request = ChangeState.Request(transition=Transition(id=transition, label=label))
        return self.ears.call(ChangeState, "change_state", request).success

    def state(self):
        return self.ears.call(GetState, "get_state", GetState.Request()).current_state.id

    def subscriptions(self, topic="/image"):
        return len(self.ears.node.get_subscriptions_info_by_topic(topic))

    def says(self, words):
        """True once the diagnostics contain ``words`` at level OK."""
        return self.ears.until(lambda: words in self.ears.status()) and self.ears.level() == OK

    def close(self):
        self.ears.node.destroy_node()
        self.process.close()


@pytest.fixture
def managed(tmp_path):
    nodes = []

    def start(name, program=FAKE, *arguments):
        nodes.append(Managed(tmp_path, name, program, *arguments))
        return nodes[-1]

    yield start
    for node in nodes:
        node.close()


def hands_come(camera, ears):
    """Send images until their hands come."""

    def come():
        return any(ears.of("hands", stamp) for stamp in stamps)

    stamps = []
    for _ in range(100):
        stamps += camera.send(period=0.0)
        if ears.until(come, 0.2):
            return True
    return False


def test_a_manager_takes_it_through_all_states(managed, camera):
    node = managed("steps", FAKE, *ON_DEMAND)
    assert node.state() == State.PRIMARY_STATE_UNCONFIGURED
    assert node.says("unconfigured: images are not taken")
    assert not node.change(Transition.TRANSITION_ACTIVATE)
    assert "tracker made" not in node.process.log()
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert "tracker made" in node.process.log()
    assert node.says("inactive: images are not taken")
    assert node.subscriptions() == node.subscriptions("/camera_info") == 0

    ears = Ears("steps", topics=("hands", "markers"))
    assert node.change(Transition.TRANSITION_ACTIVATE)
    assert node.state() == State.PRIMARY_STATE_ACTIVE
    assert hands_come(camera, ears)
    assert node.subscriptions() == node.subscriptions("/camera_info") == 1

    ears.forget()
    assert node.change(Transition.TRANSITION_DEACTIVATE)

    def ended():
        return any(m.markers[0].action == Marker.DELETE for m in ears.heard["markers"])

    assert ears.until(ended)
    names = "/image", "/camera_info", "/depth", "/steps/roi"
    assert ears.until(lambda: not any(node.subscriptions(name) for name in names))
    assert "tracker freed" not in node.process.log()
    assert node.change(Transition.TRANSITION_CLEANUP)
    assert "tracker freed" in node.process.log()
    assert (
        ears.call(GetState, "get_state", GetState.Request()).current_state.label == "unconfigured"
    )

    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert node.change(Transition.TRANSITION_ACTIVATE)
    assert hands_come(camera, ears)
    ears.node.destroy_node()
    assert node.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert node.state() == State.PRIMARY_STATE_FINALIZED
    assert node.process.log().count("tracker freed") == 2
    assert node.process.interrupt() == 0
    assert "Traceback" not in node.process.log() and "cannot " not in node.process.log()


def test_images_are_taken_while_an_output_has_subscribers(managed, camera):
    node = managed("lazy", FAKE, "-p", "image_timeout:=0.3")
    assert node.says("no output has subscribers: images are not taken")
    assert node.subscriptions() == 0 and node.subscriptions("/camera_info") == 1
    assert "no image on" not in node.process.log()
    tracks = []
    for _ in range(2):
        ears = Ears("lazy", topics=("hands",))
        assert hands_come(camera, ears)
        tracks.append(ears.heard["hands"][-1].hands[0].track_id)
        camera.send("black", encoding="rgb48")
        assert ears.until(lambda ears=ears: "'rgb48' is unknown" in ears.status())
        ears.node.destroy_node()
        assert node.ears.until(lambda: node.subscriptions() == 0)
        assert node.says("no output has subscribers: images are not taken")
    assert tracks[0] != tracks[1]


def test_a_transition_that_fails_says_why_and_leaves_the_state(managed, tmp_path):
    weights = tmp_path / "mine.safetensors"
    words = ("-p", f"model.weights:={weights}", "-p", "model.profile:=lite")
    node = managed("failing", REAL, *ON_DEMAND, *words)
    assert not node.change(Transition.TRANSITION_CONFIGURE)
    (line,) = [line for line in node.process.log().splitlines() if "ERROR" in line]
    assert "cannot configure: " in line and str(weights) in line
    assert node.state() == State.PRIMARY_STATE_UNCONFIGURED
    assert node.process.interrupt() == 0
    assert "Traceback" not in node.process.log()


def test_an_activation_that_fails_is_undone(managed):
    node = managed("half", FAKE, *ON_DEMAND, "-p", "qos_overrides./image.subscription.depth:=many")
    assert node.change(Transition.TRANSITION_CONFIGURE)
    assert not node.change(Transition.TRANSITION_ACTIVATE)
    (line,) = [line for line in node.process.log().splitlines() if "ERROR" in line]
    assert "cannot activate: " in line and "depth" in line
    assert node.state() == State.PRIMARY_STATE_INACTIVE
    assert node.ears.until(lambda: node.subscriptions("/camera_info") == 0)


def test_memory_is_not_freed_under_an_image_that_does_not_end(managed, camera):
    node = managed("stuck", FAKE)
    ears = Ears("stuck", topics=("hands",))
    assert hands_come(camera, ears)
    camera.send("15")
    ears.spin(0.3)
    assert node.change(Transition.TRANSITION_DEACTIVATE)
    assert not node.change(Transition.TRANSITION_CLEANUP)
    assert "cannot clean up: the current image did not finish in time" in node.process.log()
    assert node.state() == State.PRIMARY_STATE_INACTIVE
    ears.node.destroy_node()
    assert not node.change(Transition.TRANSITION_INACTIVE_SHUTDOWN)
    assert node.state() == State.PRIMARY_STATE_FINALIZED, "as managed nodes do"


def test_the_tools_of_ros_drive_it(managed):
    pytest.importorskip("ros2lifecycle", reason="needs ros2 lifecycle, of a ROS 2 installation")
    node = managed("tooled", FAKE, *ON_DEMAND)
    main = "import sys; from ros2cli.cli import main; sys.exit(main())"
    words = "--no-daemon", "--spin-time", str(2 * PATIENCE)
    for transition in ("configure", "activate", "shutdown"):
        command = [sys.executable, "-c", main, "lifecycle", "set", *words, "/tooled", transition]
        run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
        assert run.stdout == "Transitioning successful\n", run.stderr + run.stdout
    assert node.state() == State.PRIMARY_STATE_FINALIZED
