"""Base distributions: what the latents follow."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "base": ["Base"],
        "gaussian": ["ConditionalGaussian", "DiagonalGaussian", "FullGaussian"],
        "mixture": ["Mixture"],
        "normal": ["Normal"],
        "student_t": ["StudentT"],
        "uniform": ["Uniform"],
    },
)
