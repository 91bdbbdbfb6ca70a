"""Synthetic hands: how they are posed, dressed, photographed and laid over rooms."""
