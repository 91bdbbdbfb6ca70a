"""How steady, how far off in metres and whose hands are, on rendered videos with exact truth."""
