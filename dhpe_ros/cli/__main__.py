"""``python -m dhpe_ros.cli``: the command line where no program is installed."""

import sys

from dhpe_ros.cli.main import main

sys.exit(main())
