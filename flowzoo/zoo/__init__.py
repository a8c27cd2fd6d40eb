"""Keeping a zoo: a run becomes a preset, presets get cards, an index and a table, and are measured again."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={"building": ["build"], "publishing": ["publish"], "verifying": ["verify"]},
)
