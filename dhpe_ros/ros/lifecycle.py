"""A managed node, whose transitions end with one log line where they fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from dhpe_ros.ros.running import reason_of


def _refusing(change: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse a transition that the state does not have, which in Jazzy ends the node."""

    def answer(request: Any, response: Any) -> Any:
        try:
            return change(request, response)
        except RuntimeError:  # rclpy's RCLError
            response.success = False
            return response

    return answer


class ManagedNode(LifecycleNode):
    """Calls ``configure``, ``activate``, ``deactivate`` and ``cleanup`` as ROS's transitions ask.

    Where one raises, its error is logged, the transition fails and the state stays as it was.
    ``deactivate`` and ``cleanup`` also end the node, from any state.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        for service in self.services:
            if service.srv_name.endswith("/change_state"):
                service.callback = _refusing(service.callback)
        self.state = "unconfigured"
        self._starting = False
        self._error: Exception | None = None  # for ``start`` to raise

    def configure(self) -> None: ...

    def activate(self) -> None: ...

    def deactivate(self) -> None: ...

    def cleanup(self) -> None: ...

    def start(self) -> None:
        """Configure and activate. Raises what either raises, unlogged."""
        self._starting = True
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise self._error or RuntimeError("no transition is possible")
        self._starting = False

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._change("configure", self.configure, "inactive")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        done = self._change("activate", self.activate, "active")
        if done != TransitionCallbackReturn.SUCCESS:
            self.deactivate()  # it may have been half done
        return done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._change("deactivate", self.deactivate, "inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._change("clean up", self.cleanup, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        def end() -> None:
            self.deactivate()
            self.cleanup()

        done = self._change("shut down", end, "finalized")
        self.state = "finalized"  # also after a failure
        return done

    def _change(self, name: str, work: Callable[[], None], state: str) -> TransitionCallbackReturn:
        error = None
        try:
            work()
        except Exception as raised:
            error = raised
        if not self.context.ok():  # a signal came meanwhile: rclpy's error would be no fault
            raise KeyboardInterrupt from error
        if error is None:
            self.state = state
            return TransitionCallbackReturn.SUCCESS
        if self._starting:
            self._error = error
        else:
            self.get_logger().error(f"cannot {name}: {reason_of(error)}")
        return TransitionCallbackReturn.FAILURE
