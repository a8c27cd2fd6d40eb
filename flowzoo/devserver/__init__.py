"""A stand-in for TF Serving on a developer's machine: the same requests, the same answers, no speed."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
