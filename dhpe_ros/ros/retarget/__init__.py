"""Robot hands that follow a person's hand: the retargeting, the node."""
