"""flowzoo: the model zoo of normalizing flows for TensorFlow and Keras 3.

The public names are lazy: ``import flowzoo`` does not import TensorFlow. `__init__.pyi` lists them.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
