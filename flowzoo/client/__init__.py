"""A client of TF Serving, over REST or gRPC: densities and samples of a served flow as NumPy arrays."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "client": ["Client", "Score"],
        "protocol": [
            "RefusedError",
            "ServingError",
            "Signature",
            "TensorSpec",
            "UnavailableError",
            "VersionStatus",
        ],
    },
)
