"""Preprocessing layers: from raw data to what the transforms see; their log-dets count in the density."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
