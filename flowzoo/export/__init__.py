"""Ships a flow: a SavedModel for TF Serving, graphs for ONNX Runtime."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "manifest": ["read_manifest", "verify_export"],
        "onnx": ["export_onnx"],
        "saved_model": ["export_saved_model"],
        "signatures": ["Signatures"],
    },
)
