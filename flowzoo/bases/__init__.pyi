from .base import Base as Base
from .gaussian import ConditionalGaussian as ConditionalGaussian
from .gaussian import DiagonalGaussian as DiagonalGaussian
from .gaussian import FullGaussian as FullGaussian
from .mixture import Mixture as Mixture
from .normal import Normal as Normal
from .student_t import StudentT as StudentT
from .uniform import Uniform as Uniform
