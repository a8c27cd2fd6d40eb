"""FlowLayers: Keras layers that own weights and make TFP bijectors of them."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
