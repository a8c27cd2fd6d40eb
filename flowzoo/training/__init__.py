"""What `fit` runs: objectives, steps, compiled loops, replicas, recomputation, adapt."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
