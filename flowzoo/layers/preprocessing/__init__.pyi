from .base import Preprocessing as Preprocessing
from .dequantize import Dequantize as Dequantize
from .logit import Logit as Logit
from .standardize import Standardize as Standardize
from .whiten import Whiten as Whiten
