"""Offline: how far off the whole pipeline is on pictures with labels. Never imported by the node."""
