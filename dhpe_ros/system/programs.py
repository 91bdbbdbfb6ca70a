"""Command lines of our programs, and the exit codes of those that ``python -m`` runs."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from dhpe_ros.files.resources import installed_program
from dhpe_ros.system.errors import one_line


def command(name: str, *words: str) -> str:
    """Command line for ``dhpe NAME WORDS`` where this package is installed.

    In a ROS workspace that is ``ros2 run``; elsewhere ``dhpe``, by its path where PATH has it not.
    """
    program = installed_program("bin/dhpe")
    if program is None and installed_program("lib/dhpe_ros/dhpe"):
        own = installed_program(f"lib/dhpe_ros/{name}")
        called = ["ros2", "run", "dhpe_ros", *([] if own else ["dhpe"])]
    else:
        program = program or Path(sys.executable).with_name("dhpe")
        if not program.is_file():
            return module_command("dhpe_ros.cli", name, *words)
        on_path = shutil.which("dhpe")
        is_it = on_path is not None and Path(on_path).samefile(program)
        called = ["dhpe" if is_it else str(program)]
    return shlex.join([*called, name, *words])


def module_command(module: str, *words: str) -> str:
    """Command line that runs a module of this package by this Python."""
    return shlex.join([sys.executable, "-m", module, *words])


def run_program(main: Callable[[], None]) -> NoReturn:
    """Run ``main`` and end the process.

    0: done; 2: an input is wrong, which the line on the screen names; 130: interrupted.
    """
    try:
        main()
        code = 0
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)
