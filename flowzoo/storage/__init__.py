"""Preset files and registries: atomic writes, digest checks, a download cache."""
