"""The version of flowzoo; the build reads it from here, so nothing else states it."""

__version__ = "0.1.0"
