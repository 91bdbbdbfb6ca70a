"""Topics with a quality of service that fits: subscriptions follow their publishers.

A reliable subscription gets nothing from a best-effort publisher; a best-effort one loses large
images; a latched message reaches only a transient-local subscription. So a subscription requests
the most that all of its publishers offer, and is made anew when that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )
except ImportError:  # Humble
    from rclpy.qos_event import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
        UnsupportedEventTypeError,
    )

from dhpe_ros.ros.environment import shipped_dds_profile
from dhpe_ros.ros.health import HealthMonitor

_OVERRIDABLE = tuple(
    QoSPolicyKind[name] for name in ("HISTORY", "DEPTH", "RELIABILITY", "DURABILITY")
)
# Policies that follow the publishers, as (strong, weak): a subscription that requests the strong
# value gets messages only of publishers that offer it; with the weak value it gets all.
_FOLLOWED = {
    "reliability": (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT),
    "durability": (DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE),
}
DEPTH = 5  # of publishers
_POLL_S = 0.2  # takes microseconds; not every distribution has events of the graph
_LOST_LASTS_S = 10.0
_EVENT_LASTS_S = 60.0  # no event says that the other side is gone


class Input:
    """A subscription with the type, reliability and durability that its publishers offer.

    Where they differ, it requests what suits all; without a publisher, the least.
    ``qos_overrides.<topic>.subscription.*`` take precedence. Messages that the middleware loses are
    counted in ``lost`` and reported.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        callbacks: Mapping[type, Callable[[Any], None]],
        health: HealthMonitor,
        type_remedy: str = "",
    ) -> None:
        """``callbacks`` by message type; the first type is requested until there is a publisher.

        ``type_remedy`` completes the report about publishers of another type. Nothing is subscribed
        to before ``listen``.
        """
        self._node = node
        self.name = topic
        self.topic = node.resolve_topic_name(topic)
        self._callbacks = {type_name(kind): (kind, call) for kind, call in callbacks.items()}
        self._health = health
        self._type_remedy = type_remedy or f"remap {topic}:=<a topic of that type>"
        self.publishers = 0  # of an accepted type
        self.received = 0
        self.lost = 0
        self.lost_in_a_row = 0  # since a message was received
        self.type = next(iter(self._callbacks))
        self._offered = {policy: weak for policy, (_, weak) in _FOLLOWED.items()}
        self._subscription: Subscription | None = None
        steady_timer(node, _POLL_S, self.follow)

    @property
    def listening(self) -> bool:
        return self._subscription is not None

    def listen(self, wanted: bool = True) -> None:
        """Subscribe, or drop the subscription and the faults that it had.

        Raises rclpy's ``ParameterException`` or ``ValueError`` for overrides without meaning.
        """
        if wanted and self._subscription is None:
            self._subscription = self._subscribe()
        elif not wanted and self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
            self._health.forget(f"{fault} {self.name}" for fault in ("lost", "type", "qos"))

    def follow(self) -> bool:
        """Subscribe anew where the publishers' offers have changed; True if so."""
        if self._subscription is None:
            return False
        found = self._node.get_publishers_info_by_topic(self.topic)
        types = {publisher.topic_type for publisher in found}
        kind = next((name for name in (self.type, *self._callbacks) if name in types), self.type)
        offers = [p.qos_profile for p in found if p.topic_type == kind]
        self.publishers = len(offers)
        offered = {policy: _common(offers, policy) for policy in self._offered}
        anew = bool(offers) and (kind, offered) != (self.type, self._offered)
        if anew:
            self.type, self._offered = kind, offered
            self._node.destroy_subscription(self._subscription)
            self._subscription = self._subscribe()
            self._health.clear(f"lost {self.name}")  # of the old subscription
        self._report_others(types, offers)
        return anew

    def _subscribe(self) -> Subscription:
        kind, callback = self._callbacks[self.type]

        def on_message(message: Any) -> None:
            self.received += 1
            self.lost_in_a_row = 0
            callback(message)

        # System default marks what no override sets.
        qos = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.SYSTEM_DEFAULT,
            durability=DurabilityPolicy.SYSTEM_DEFAULT,
        )
        options = QoSOverridingOptions(_OVERRIDABLE, callback=self._complete)
        events = SubscriptionEventCallbacks(message_lost=self._on_lost, use_default_callbacks=False)
        create = self._node.create_subscription
        return _with_events(create, (kind, self.name, on_message, qos), options, events)

    def _complete(self, qos: QoSProfile) -> SetParametersResult:
        """Fill in the offered policies, except those that an override sets."""
        self._offered = {
            policy: offer
            for policy, offer in self._offered.items()
            if getattr(qos, policy) not in _FOLLOWED[policy]
        }
        for policy, offer in self._offered.items():
            setattr(qos, policy, offer)
        self._qos = qos
        return SetParametersResult(successful=True)

    def _report_others(self, types: set[str], offers: Sequence[QoSProfile]) -> None:
        """Report publishers from which nothing can arrive."""
        others, ours = ", ".join(sorted(types)), " or ".join(self._callbacks)
        fault = f"{self.topic} is published as {others}; it must be {ours}: {self._type_remedy}"
        wrong = types and types.isdisjoint(self._callbacks)
        note = f"{self.topic} has the right type"
        self._health.update(f"type {self.name}", fault if wrong else "", note)
        fault = ""
        for result, reason in (qos_check_compatible(offer, self._qos) for offer in offers):
            if result == QoSCompatibility.ERROR:
                reason = reason.replace("ERROR: ", "").rstrip(";").replace(";", ", ").lower()
                fault = (
                    f"a publisher of {self.topic} offers an incompatible QoS ({reason}) and "
                    "nothing arrives from it: leave out the parameters qos_overrides."
                    f"{self.topic}.subscription.* that ask for more"
                )
        self._health.update(f"qos {self.name}", fault, f"the QoS of {self.topic} is compatible")

    def _on_lost(self, event: Any) -> None:
        self.lost += event.total_count_change
        self.lost_in_a_row += event.total_count_change
        if self.follow():
            return  # the old subscription requested less
        remedies = []
        if self._qos.reliability == ReliabilityPolicy.BEST_EFFORT:
            if "reliability" in self._offered:
                remedies.append("publish it reliably: the subscription follows")
            else:
                name = f"qos_overrides.{self.topic}.subscription.reliability"
                remedies.append(f"leave out the parameter {name}, and publish it reliably")
        for variable, path in shipped_dds_profile().items():
            remedies.append(f"start its publisher with {variable}={path} in the environment")
        remedies.append("publish smaller or compressed messages")
        self._health.report(
            f"lost {self.name}",
            f"{self.lost} of {self.lost + self.received} messages of {self.topic} were lost on the "
            f"way here: {'; or '.join(remedies)}",
            lasts_s=_LOST_LASTS_S,
        )


def steady_timer(node: Node, period_s: float, callback: Callable[[], Any]) -> None:
    """A timer that also fires with simulated time and no /clock."""
    node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))


def advertise(
    node: Node, kind: type, topic: str, health: HealthMonitor, depth: int = DEPTH
) -> Publisher:
    """A reliable publisher, overridable by ``qos_overrides.<topic>.publisher.*``."""
    name = node.resolve_topic_name(topic)

    def report(event: Any) -> None:
        kind = qos_policy_name_from_kind(event.last_policy_kind)
        policy = kind.removesuffix("_QOS_POLICY").lower()
        health.report(
            f"qos {topic}",
            f"a subscriber of {name} asks for an incompatible QoS ({policy}) and gets nothing: "
            f"change it there or by the parameter qos_overrides.{name}.publisher.{policy}",
            lasts_s=_EVENT_LASTS_S,
        )

    events = PublisherEventCallbacks(incompatible_qos=report)
    qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE)
    options = QoSOverridingOptions(_OVERRIDABLE)
    return _with_events(node.create_publisher, (kind, topic, qos), options, events)


def type_name(kind: type) -> str:
    """Name of a message type in the ROS graph: ``sensor_msgs/msg/Image``."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def _common(offers: Sequence[QoSProfile], policy: str) -> Any:
    """The strongest value with which a subscription still gets messages of all publishers."""
    strong, weak = _FOLLOWED[policy]
    return strong if all(getattr(offer, policy) == strong for offer in offers) else weak


def _with_events(
    create: Callable[..., Any], arguments: tuple, options: QoSOverridingOptions, events: Any
) -> Any:
    try:
        return create(*arguments, qos_overriding_options=options, event_callbacks=events)
    except UnsupportedEventTypeError:  # a middleware without these events
        return create(*arguments, qos_overriding_options=options)
