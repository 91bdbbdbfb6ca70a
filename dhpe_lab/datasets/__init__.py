"""Pictures of hands with labels: what is known of one, and the formats they come in."""
