"""flowzoo: the model zoo of normalizing flows for TensorFlow and Keras 3.

The public names are lazy: ``import flowzoo`` does not import TensorFlow.
"""

import lazy_loader as lazy

from flowzoo._version import __version__

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submodules=[
        "applications",
        "bases",
        "bijectors",
        "client",
        "conditioners",
        "data",
        "layers",
        "plots",
        "random",
    ],
    submod_attrs={
        "flow": ["Flow"],
        "presets": ["from_pretrained"],
        "registry": ["ModelInfo", "create_model", "list_models", "model_info", "register_model"],
    },
)
__all__ = [*__all__, "__version__"]
