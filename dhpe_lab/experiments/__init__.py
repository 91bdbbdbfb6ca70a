"""Measurements that docs/decisions quotes, each with its script."""
