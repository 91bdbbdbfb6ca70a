"""The commands of ``dhpe``, one module each.

A command module has ``NAME``, ``SUMMARY``, ``add_arguments(parser)`` and ``run(arguments)``, which
returns the exit code. It imports what is slow (torch) inside ``run``, so that ``dhpe --help``
answers at once.
"""


class CommandError(Exception):
    """What the user asked for cannot be done at all: one line on the screen, exit code 2."""
