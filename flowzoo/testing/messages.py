"""Checks of error messages: wrong shapes, types and values are named."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowzoo.flow import Flow
from flowzoo.testing.asserts import assert_refuses, show
from flowzoo.testing.flows import contexts, raw_rows


def check_messages(flow: Flow) -> None:
    """Wrong shapes, types and values raise a `ValueError` that says what came and what was wanted."""
    x, context = raw_rows(flow, 2).astype(np.float64), contexts(flow, 2)
    wanted = show("N", *flow.event_shape)
    wide, late = np.zeros((*x.shape[:-1], x.shape[-1] + 1)), x.copy()
    late[1].flat[0] = math.nan
    latents = np.zeros((2, math.prod(flow.latent_shape) + 1))
    cases: list[Any] = [
        ((flow.log_prob, wide, context), [wanted, show(*wide.shape)]),
        ((flow.encode, x[0], context), [wanted, "x[None]"]),
        ((flow.log_prob, x.astype(str), context), ["numbers", "string"]),
        ((flow.log_prob, late, context), ["NaN", "1 of 2 rows", "row 1"]),
        ((flow.decode, latents, context), ["z must have shape", show(*latents.shape)]),
    ]
    if context is None:
        given = np.zeros((2, 3))
        cases += [((f, a, given), ["takes no context"]) for f, a in ((flow.log_prob, x), (flow.sample, 2))]
    else:
        (size,) = context.shape[1:]
        shown = show("N", size)
        cases += [
            ((flow.log_prob, x), ["conditional", shown]),
            ((flow.sample, 2), ["conditional", shown]),
            ((flow.log_prob, x, np.zeros((2, size + 1))), [shown, show(2, size + 1)]),
            ((flow.log_prob, x, np.zeros((3, size))), ["3 rows", "2"]),
            ((flow.log_prob, x, np.full((2, size), math.nan)), ["context", "NaN"]),
        ]
    for (function, *arguments), words in cases:
        assert_refuses(function, arguments, words)
