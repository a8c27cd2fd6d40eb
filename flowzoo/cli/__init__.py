"""The command line: `flowzoo --help` lists its commands."""

from flowzoo.cli.program import app, main

__all__ = ["app", "main"]
