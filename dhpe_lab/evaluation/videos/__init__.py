"""Steadiness, absolute error and identity of hands, on rendered videos with exact truth."""
