"""The command line: flowzoo list, info, train, fit, evaluate, sample, score, export, demo."""

from flowzoo.cli.program import app, main

__all__ = ["app", "main"]
