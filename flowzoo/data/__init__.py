"""Data for flows: `load` makes a `tf.data` pipeline from a catalog name or from your own files.

Importing this package does not import TensorFlow; the public names load on first use. They are
listed, with their types, in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
