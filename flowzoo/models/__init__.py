"""Architectures: one file each; importing a file registers it."""
