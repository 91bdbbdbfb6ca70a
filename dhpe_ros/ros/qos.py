"""Quality of service of the topics, and subscriptions that say when it does not match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
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

SENSOR_DATA = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RESULTS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)


def subscribe(
    node: Node, kind: type, topic: str, callback: Callable[[Any], None], troubles: Troubles
) -> Subscription:
    """Sensor-data QoS, overridable by ``qos_overrides.<topic>.subscription.*``."""
    name = node.resolve_topic_name(topic)
    events = SubscriptionEventCallbacks(
        incompatible_qos=lambda event: troubles.report(f"qos {topic}", _remedy(name, event, "sub"))
    )
    return _with_events(node.create_subscription, (kind, topic, callback, SENSOR_DATA), events)


def advertise(node: Node, kind: type, topic: str, troubles: Troubles) -> Publisher:
    """Reliable, overridable by ``qos_overrides.<topic>.publisher.*``."""
    name = node.resolve_topic_name(topic)
    events = PublisherEventCallbacks(
        incompatible_qos=lambda event: troubles.report(f"qos {topic}", _remedy(name, event, "pub"))
    )
    return _with_events(node.create_publisher, (kind, topic, RESULTS), events)


def _with_events(create: Callable[..., Any], arguments: tuple, events: Any) -> Any:
    options = QoSOverridingOptions.with_default_policies()
    try:
        return create(*arguments, qos_overriding_options=options, event_callbacks=events)
    except UnsupportedEventTypeError:  # a middleware that never has incompatible QoS, as Zenoh
        return create(*arguments, qos_overriding_options=options)


def _remedy(topic: str, event: Any, side: str) -> str:
    policy = qos_policy_name_from_kind(event.last_policy_kind)
    policy = policy.removesuffix("_QOS_POLICY").lower()
    if side == "sub":
        return (
            f"a publisher of {topic} offers an incompatible QoS ({policy}), nothing arrives from "
            f"it: change it there or by the parameter qos_overrides.{topic}.subscription.{policy}"
        )
    return (
        f"a subscriber of {topic} asks for an incompatible QoS ({policy}) and gets nothing: change "
        f"it there or by the parameter qos_overrides.{topic}.publisher.{policy}"
    )
