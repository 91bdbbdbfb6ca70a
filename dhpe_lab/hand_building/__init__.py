"""Builds the hand model that ships."""
