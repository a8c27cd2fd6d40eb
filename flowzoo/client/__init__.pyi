from .client import Client as Client
from .client import Score as Score
from .protocol import RefusedError as RefusedError
from .protocol import ServingError as ServingError
from .protocol import Signature as Signature
from .protocol import TensorSpec as TensorSpec
from .protocol import UnavailableError as UnavailableError
from .protocol import VersionStatus as VersionStatus
