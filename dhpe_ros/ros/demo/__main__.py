"""``python -m dhpe_ros.ros.demo [INPUT]``: the demo."""

import sys

from dhpe_ros.ros.demo.demo import main

sys.exit(main())
