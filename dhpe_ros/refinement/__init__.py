"""Refinement at test time (Eq. 13): the 63 parameters are fitted to the observation."""
