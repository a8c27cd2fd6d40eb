"""Ships a flow: SavedModel for TF Serving."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "manifest": ["read_manifest", "verify_export"],
        "saved_model": ["export_saved_model"],
        "signatures": ["Signatures"],
    },
)
