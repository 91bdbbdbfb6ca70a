"""Cameras and lenses, crops, and the lift to the camera's frame."""
