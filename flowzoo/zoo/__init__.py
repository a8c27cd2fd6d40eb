"""Maintains a zoo: publishes runs as presets, builds cards, index and table, verifies metrics."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
