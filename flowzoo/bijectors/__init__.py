"""The mathematics: bijectors with value and log-det in one pass, one file each."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "affine": ["Affine"],
        "as_program": ["AsProgram"],
        "base": ["FusedBijector", "forward_and_log_det", "inverse_and_log_det"],
        "chain": ["Chain"],
        "coupling": ["Coupling"],
        "flatten": ["Flatten"],
        "linear": ["Linear"],
        "logit": ["Logit"],
        "masked_autoregressive": ["MaskedAutoregressive"],
        "multiscale": ["MultiScale"],
        "permute": ["Permute"],
        "planar": ["Planar"],
        "radial": ["Radial"],
        "spline": ["RationalQuadraticSpline"],
        "splits": ["CheckerboardSplit", "HalfSplit"],
        "sigmoid": ["Sigmoid"],
        "squeeze": ["Squeeze"],
    },
)
