from .manifest import read_manifest as read_manifest
from .manifest import verify_export as verify_export
from .onnx import export_onnx as export_onnx
from .saved_model import export_saved_model as export_saved_model
from .signatures import Signatures as Signatures
