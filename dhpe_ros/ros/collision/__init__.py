"""Hands as collision objects of MoveIt: the node, the shapes."""
