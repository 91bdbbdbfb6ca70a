"""How the programs that ``python -m`` runs end: as ``dhpe`` does, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from dhpe_ros.errors import one_line


def run_program(main: Callable[[], None]) -> NoReturn:
    """Run ``main`` and end the process.

    0: done; 2: an input is wrong, which the line on the screen names; 130: interrupted.
    """
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(_said(f"error: {one_line(error)}", 2))
    except KeyboardInterrupt:
        sys.exit(_said("interrupted", 130))
    sys.exit(0)


def _said(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code
