"""Keeping a zoo: a run becomes a preset, presets get cards, an index and a table, and are measured again."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
