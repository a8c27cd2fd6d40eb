"""Checks of what every registered flow promises, as plain functions that do not need pytest.

    from flowzoo.testing import check_promises

    def test_my_flow():
        check_promises("my_flow", event_shape=(2,), context_shape=(3,), steps=2)

Every check raises an `AssertionError` that says what was promised and what came. Choose small options,
because the checks trace and compile each flow several times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowzoo.testing.files import check_onnx, check_saved_model, check_saving
from flowzoo.testing.flows import contexts, make_flow, make_new_flow, perturb, raw_rows, small_options
from flowzoo.testing.mathematics import (
    check_bijector,
    check_context,
    check_density,
    check_gradients,
    check_inverse,
    check_log_det,
    check_near_identity,
    check_samples,
    log_det_by_autodiff,
)
from flowzoo.testing.messages import check_messages
from flowzoo.testing.runtimes import check_distribution, check_rows, check_runtimes, check_seeds

FLOAT64_CHECKS = (check_inverse, check_log_det, check_gradients, check_context)
FLOAT32_CHECKS = (
    check_inverse,
    check_runtimes,
    check_rows,
    check_seeds,
    check_distribution,
    check_saving,
    check_saved_model,
    check_onnx,
    check_messages,
)
DENSITY_CHECKS = (check_density, check_samples)


def check_promises(
    name: str, event_shape: Sequence[int], context_shape: Sequence[int] | None = None, **options: Any
) -> None:
    """Checks everything that a flow of the zoo promises, for one registered architecture.

    Call it for each case that the architecture supports: vectors, images, with and without a context.
    For ``event_shape=(2,)`` it also integrates the density and compares it with samples.

    Args:
        name: Name in the registry.
        event_shape: ``(D,)`` or ``(H, W, C)``, with small sizes.
        context_shape: ``(size,)`` or None.
        **options: Options of `create_model` that make a small flow.

    Raises:
        AssertionError: On the first broken promise.
    """
    check_near_identity(make_new_flow(name, event_shape, context_shape, **options))
    wide = make_flow(name, event_shape, context_shape, dtype="float64", **options)
    plain = make_flow(name, event_shape, context_shape, dtype="float32", **options)
    for check in FLOAT64_CHECKS:
        check(wide)
    for check in FLOAT32_CHECKS:
        check(plain)
    if tuple(event_shape) == (2,):
        for check in DENSITY_CHECKS:
            check(wide)


__all__ = [
    "DENSITY_CHECKS",
    "FLOAT32_CHECKS",
    "FLOAT64_CHECKS",
    "check_bijector",
    "check_context",
    "check_density",
    "check_distribution",
    "check_gradients",
    "check_inverse",
    "check_log_det",
    "check_messages",
    "check_near_identity",
    "check_onnx",
    "check_promises",
    "check_rows",
    "check_runtimes",
    "check_samples",
    "check_saved_model",
    "check_saving",
    "check_seeds",
    "contexts",
    "log_det_by_autodiff",
    "make_flow",
    "make_new_flow",
    "perturb",
    "raw_rows",
    "small_options",
]
