from .anomaly import AnomalyDetector as AnomalyDetector
from .calibration import Calibration as Calibration
from .inpainting import inpaint as inpaint
from .interpolation import interpolate as interpolate
