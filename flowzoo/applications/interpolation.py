"""interpolate: rows between two rows, along a path through the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from flowzoo.flow import Flow


def interpolate(flow: Flow, start: Any, end: Any, steps: int = 8) -> np.ndarray:
    """Rows between two rows. All of them are likely, whereas a mean of pixels shows both images at once.

    Latents of a normal base lie near a sphere, so the path is an arc (White, "Sampling generative networks",
    2016). The middle of a straight line would look like a sample at a lower temperature.

    Args:
        flow: An unconditional flow.
        start: ``[N, *event_shape]``, raw data.
        end: ``[N, *event_shape]``, raw data.
        steps: Number of rows on each path, including both ends.

    Returns:
        ``[N, steps, *event_shape]``, raw units. Discrete data are continuous values within their steps: use
        ``np.floor`` for whole pixels.

    Raises:
        ValueError: On wrong shapes or types, or fewer than 2 steps.

    Example:
        >>> import flowzoo
        >>> flow = flowzoo.from_pretrained("maf_two_moons")
        >>> flowzoo.applications.interpolate(flow, [[-3.0, -3.0]], [[1.0, 1.0]], steps=5).shape
        (1, 5, 2)
    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2, the two ends; got {steps}.")
    z_start, z_end = flow.encode(start).numpy(), flow.encode(end).numpy()
    if z_start.shape != z_end.shape:
        raise ValueError(f"start has {len(z_start)} rows and end {len(z_end)}; give one end for each start.")
    ways = _arcs(z_start.reshape(len(z_start), -1), z_end.reshape(len(z_end), -1), np.linspace(0, 1, steps))
    rows = flow.decode(ways.reshape(-1, *flow.latent_shape)).numpy()
    return rows.reshape(len(z_start), steps, *flow.event_shape)


def _arcs(start, end, share):
    """Arcs ``[N, steps, size]`` from ``[N, size]`` to ``[N, size]``: angle and length change evenly."""
    lengths = [np.linalg.norm(z, axis=1, keepdims=True) for z in (start, end)]
    cosine = np.sum(start / lengths[0] * (end / lengths[1]), axis=1)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))[:, None]
    # With equal directions, every mixture has that direction.
    flat = np.sin(angle) < 1e-4
    sine = np.where(flat, 1.0, np.sin(angle))
    weights = [np.where(flat, part, np.sin(part * angle) / sine)[..., None] for part in (1.0 - share, share)]
    directions = weights[0] * (start / lengths[0])[:, None] + weights[1] * (end / lengths[1])[:, None]
    length = lengths[0] * (1.0 - share) + lengths[1] * share
    return directions * length[..., None]
