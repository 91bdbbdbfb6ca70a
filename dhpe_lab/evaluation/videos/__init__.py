"""Steadiness and absolute error of hands, on rendered videos with exact truth."""
