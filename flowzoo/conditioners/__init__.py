"""Keras networks that predict the parameters of a bijector."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "base": ["Conditioner"],
        "convnet": ["ConvNet"],
        "made": ["MADE"],
        "mlp": ["MLP"],
        "residual_mlp": ["ResidualMLP"],
        "weight_norm": ["WeightNorm"],
    },
)
