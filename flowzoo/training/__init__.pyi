from .objectives import Batch as Batch
from .objectives import MaximumLikelihood as MaximumLikelihood
from .objectives import Objective as Objective
