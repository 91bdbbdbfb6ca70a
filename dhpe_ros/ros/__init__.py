"""The ROS 2 layer: it converts, calls the tracker, publishes. No estimation happens here.

``node.py`` is where an image arrives; ``outputs.py`` is where topics are published.
"""

import gc

# A tenth of a start went into looking for garbage among what is being imported.
gc.set_threshold(10_000)
