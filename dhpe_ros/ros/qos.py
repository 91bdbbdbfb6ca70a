"""Quality of service of the topics, and subscriptions that say when it does not match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSPolicyKind, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
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

from dhpe_ros.ros.troubles import Troubles

_OVERRIDABLE = tuple(
    QoSPolicyKind[name] for name in ("HISTORY", "DEPTH", "RELIABILITY", "DURABILITY")
)
_OTHERS_PUBLISHER = (
    "a publisher of {topic} offers an incompatible QoS ({policy}) and nothing arrives from it"
)
_OTHERS_SUBSCRIBER = (
    "a subscriber of {topic} asks for an incompatible QoS ({policy}) and gets nothing"
)
_EVENT_LASTS_S = 60.0  # nobody tells when the other side is gone


def subscribe(
    node: Node, kind: type, topic: str, callback: Callable[[Any], None], troubles: Troubles
) -> Subscription:
    """Sensor-data QoS, overridable by ``qos_overrides.<topic>.subscription.*``."""
    events = SubscriptionEventCallbacks(
        incompatible_qos=_reporter(node, topic, troubles, _OTHERS_PUBLISHER, "subscription")
    )
    # A profile of its own for each topic: rclpy writes the overrides into it.
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    return _with_events(node.create_subscription, (kind, topic, callback, qos), events)


def advertise(node: Node, kind: type, topic: str, troubles: Troubles) -> Publisher:
    """Reliable, overridable by ``qos_overrides.<topic>.publisher.*``."""
    events = PublisherEventCallbacks(
        incompatible_qos=_reporter(node, topic, troubles, _OTHERS_SUBSCRIBER, "publisher")
    )
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    return _with_events(node.create_publisher, (kind, topic, qos), events)


def type_name(kind: type) -> str:
    """As the graph has it: ``sensor_msgs/msg/Image``."""
    return f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"


def _with_events(create: Callable[..., Any], arguments: tuple, events: Any) -> Any:
    options = QoSOverridingOptions(_OVERRIDABLE)
    try:
        return create(*arguments, qos_overriding_options=options, event_callbacks=events)
    except UnsupportedEventTypeError:  # a middleware that never has incompatible QoS, as Zenoh
        return create(*arguments, qos_overriding_options=options)


def _reporter(
    node: Node, topic: str, troubles: Troubles, what: str, side: str
) -> Callable[[Any], None]:
    """A callback that reports ``what`` with the parameter that would change our ``side`` of it."""
    name = node.resolve_topic_name(topic)

    def report(event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        policy = policy.removesuffix("_QOS_POLICY").lower()
        message = what.format(topic=name, policy=policy)
        remedy = f"change it there or by the parameter qos_overrides.{name}.{side}.{policy}"
        troubles.report(f"qos {topic}", f"{message}: {remedy}", lasts_s=_EVENT_LASTS_S)

    return report
