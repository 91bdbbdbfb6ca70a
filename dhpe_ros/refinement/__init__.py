"""Eq. 13: a hand is moved until it agrees with what is seen of it."""
