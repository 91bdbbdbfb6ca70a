"""Hands as collision objects of MoveIt."""
