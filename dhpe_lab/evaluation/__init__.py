"""Offline: how far off the whole pipeline is. Never imported by the node."""
