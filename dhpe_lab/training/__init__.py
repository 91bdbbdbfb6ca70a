"""Offline: data sets, synthesis, losses and the training loop. Never imported by the node."""
