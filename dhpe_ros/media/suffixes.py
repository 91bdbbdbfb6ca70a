"""Which file is what, by its name."""

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".bmp", ".jpeg", ".jpg", ".jp2", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
))
VIDEO_SUFFIXES = frozenset((
    ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv",
))
# fmt: on
BAG_SUFFIXES = frozenset((".mcap", ".db3"))
BAG_METADATA = "metadata.yaml"
