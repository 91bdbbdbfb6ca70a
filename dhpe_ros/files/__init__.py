"""Finds the files that ship, and reads those of others within bounds."""
