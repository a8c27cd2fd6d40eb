"""Stand-in for TF Serving on a developer's machine: the same requests and answers, but slower."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
