from .base import Conditioner as Conditioner
from .convnet import ConvNet as ConvNet
from .made import MADE as MADE
from .mlp import MLP as MLP
from .residual_mlp import ResidualMLP as ResidualMLP
from .residual_mlp import check_residual_widths as check_residual_widths
from .stepwise import StepwiseConditioner as StepwiseConditioner
from .weight_norm import WeightNorm as WeightNorm
