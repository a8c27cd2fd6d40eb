from .base import Conditioner as Conditioner
from .convnet import ConvNet as ConvNet
from .made import MADE as MADE
from .mlp import MLP as MLP
from .residual_mlp import ResidualMLP as ResidualMLP
from .weight_norm import WeightNorm as WeightNorm
