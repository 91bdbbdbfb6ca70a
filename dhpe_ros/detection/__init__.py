"""Finds hands in whole pictures: the localiser and the search."""
