"""FlowLayers: Keras layers that own weights and hand out TFP bijectors."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "actnorm": ["ActNorm"],
        "base": ["FlowLayer"],
        "coupling": ["AffineCoupling", "CouplingLayer"],
        "flatten": ["Flatten", "flattened"],
        "masked_autoregressive": ["AffineAutoregressive", "SplineAutoregressive"],
        "learned_prior": ["LearnedPrior"],
        "linear": ["LULinear"],
        "multiscale": ["MultiScale"],
        "permute": ["Permute"],
        "planar": ["Planar"],
        "preprocessing": ["Dequantize", "Logit", "Standardize", "Whiten"],
        "radial": ["Radial"],
        "sigmoid": ["Sigmoid"],
        "spline": ["Spline"],
        "spline_coupling": ["SplineCoupling"],
        "squeeze": ["Squeeze"],
    },
)
