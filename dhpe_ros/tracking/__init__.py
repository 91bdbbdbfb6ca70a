"""Hands from frame to frame: boxes, identities and sides."""
