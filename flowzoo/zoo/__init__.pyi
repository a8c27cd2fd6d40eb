from .building import build as build
from .publishing import publish as publish
from .verifying import verify as verify
