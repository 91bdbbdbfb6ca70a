"""The command line ``dhpe``: ``main`` and the commands, one module each.

A command module has ``NAME``, ``SUMMARY``, ``add_arguments(parser)`` and ``run(arguments)``, which
returns the exit code. It imports torch inside ``run``, so that ``dhpe --help`` answers at once.
Commands of other packages join by entry points of the group ``dhpe.commands``.
"""
