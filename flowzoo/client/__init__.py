"""Client for TF Serving over REST or gRPC: densities and samples of a served flow as NumPy arrays."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
