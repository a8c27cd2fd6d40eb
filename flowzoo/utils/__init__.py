"""Checks of arguments and the wording of messages."""
