"""The demo, and the player of clips."""
