"""Trains another library's flow on given rows for a given time; equal_budget.py runs it in a peer's venv.

    PYTHONPATH=../shared/peers .peers/torch/bin/python benchmarks/peer_fit.py '{"peer": "zuko", ...}'

Writes the log-densities of the test rows to an .npy file, and one JSON line to stdout.
"""

from __future__ import annotations

import copy
import importlib
import json
import math
import sys
import time

import common
import numpy as np
from peer_flows import build


def main() -> None:
    """Trains a peer, and scores the test rows with the weights that validated best."""
    settings = json.loads(sys.argv[1])
    common.limit_threads(settings["threads"])
    rows = Rows(settings["rows"])
    library = importlib.import_module(f"bench_{settings['peer']}")
    peer = (JaxPeer if settings["peer"] == "flowjax" else TorchPeer)(library, rows.columns, settings)
    steps = fit(peer, rows, settings["seconds"], settings["batch_size"], settings["learning_rate"])
    np.save(settings["out"], peer.log_prob(rows.test) + rows.log_det)
    print(json.dumps({"steps": steps, "parameters": peer.parameters, "version": peer.version}))


def fit(peer, rows: Rows, seconds: float, batch_size: int, learning_rate: float) -> int:
    """Trains with Adam and a cosine schedule over the seconds; loads the weights that validated best.

    The clock starts after the first step and the first validation, which compile, and includes the later
    validations.

    Returns:
        The number of steps.
    """
    peer.step(rows.epoch(batch_size)[0], 0.0)
    best, weights, steps, done = peer.nll(rows.validation), peer.weights(), 0, 0.0
    start = time.monotonic()
    while done < 1.0:
        for x in rows.epoch(batch_size):
            peer.step(x, learning_rate * 0.5 * (1.0 + math.cos(math.pi * done)))
            steps += 1
            done = min((time.monotonic() - start) / seconds, 1.0)
            if done == 1.0:
                break
        nll = peer.nll(rows.validation)
        if nll < best:
            best, weights = nll, peer.weights()
    peer.load(weights)
    return steps


class Rows:
    """Standardised or whitened float32 rows; training rows get new noise in each epoch."""

    def __init__(self, path: str):
        with np.load(path) as file:
            self._low, self._steps = file["train"], file["steps"]
            self._mean, self._std, self._matrix = file["mean"], file["std"], file["matrix"]
            self.validation, self.test = (self._standardised(file[part]) for part in ("validation", "test"))
        self._rng = np.random.default_rng(0)
        self.columns = len(self._mean)
        self.log_det = float((np.log(np.diag(self._matrix)) - np.log(self._std)).sum())

    def epoch(self, batch_size: int) -> np.ndarray:
        """All training rows once, in a new order, ``[batches, batch_size, columns]``."""
        x = self._standardised(self._low + self._rng.random(self._low.shape) * self._steps)
        batches = len(x) // batch_size
        order = self._rng.permutation(len(x))[: batches * batch_size]
        return x[order].reshape(batches, batch_size, self.columns)

    def _standardised(self, x):
        return (((x - self._mean) / self._std) @ self._matrix.T).astype(np.float32)


class TorchPeer:
    """zuko, normflows or nflows."""

    def __init__(self, library, columns: int, settings: dict):
        import torch

        torch.set_num_threads(settings["threads"])
        torch.manual_seed(0)
        self._torch = torch
        self._flow = build(library, columns, settings)
        self._weights = [p for p in self._flow.module.parameters() if p.requires_grad]
        self._adam = torch.optim.Adam(self._weights, fused=settings["variant"] != "eager")
        self._clip = settings["clip_norm"] or math.inf
        self._loss = lambda x: -self._flow.log_prob(x).mean()
        if settings["variant"] == "compile":
            self._loss = torch.compile(self._loss)
        self.parameters = sum(p.numel() for p in self._weights)
        self.version = f"{library.version()} (torch {torch.__version__})"

    def step(self, x: np.ndarray, rate: float) -> None:
        """Takes one step; skips it if its gradient is not finite, as flowzoo does."""
        self._adam.zero_grad(set_to_none=True)
        self._loss(self._torch.from_numpy(x)).backward()
        norm = self._torch.nn.utils.clip_grad_norm_(self._weights, self._clip)
        if math.isfinite(norm):
            self._adam.param_groups[0]["lr"] = rate
            self._adam.step()

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-densities ``[rows]``, float64."""
        with self._torch.no_grad():
            return self._flow.log_prob(self._torch.from_numpy(x)).double().numpy()

    def nll(self, x: np.ndarray) -> float:
        """Mean negative log-density."""
        return -float(self.log_prob(x).mean())

    def weights(self):
        """A copy of the weights."""
        return copy.deepcopy(self._flow.module.state_dict())

    def load(self, weights) -> None:
        """Restores weights."""
        self._flow.module.load_state_dict(weights)


class JaxPeer:
    """flowjax."""

    def __init__(self, library, columns: int, settings: dict):
        import jax
        import optax

        flow = build(library, columns, settings)
        clip = optax.clip_by_global_norm(settings["clip_norm"] or math.inf)
        # Skip steps whose gradient is not finite, as flowzoo does.
        adam = optax.apply_if_finite(optax.chain(clip, optax.scale_by_adam()), max_consecutive_errors=10**9)

        def update(weights, state, x, rate):
            gradient = jax.grad(lambda weights: -flow.log_prob(weights, x).mean())(weights)
            moves, state = adam.update(gradient, state, weights)
            return jax.tree.map(lambda weight, move: weight - rate * move, weights, moves), state

        self._update, self._log_prob = jax.jit(update), jax.jit(flow.log_prob)
        self._weights, self._state = flow.params, adam.init(flow.params)
        self._wait = jax.block_until_ready
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(flow.params))
        self.version = f"{library.version()} (jax {jax.__version__})"

    def step(self, x: np.ndarray, rate: float) -> None:
        """Takes one step."""
        self._weights, self._state = self._wait(self._update(self._weights, self._state, x, rate))

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Log-densities ``[rows]``, float64."""
        return np.asarray(self._log_prob(self._weights, x), np.float64)

    def nll(self, x: np.ndarray) -> float:
        """Mean negative log-density."""
        return -float(self.log_prob(x).mean())

    def weights(self):
        """The weights; steps do not change arrays in place."""
        return self._weights

    def load(self, weights) -> None:
        """Restores weights."""
        self._weights = weights


if __name__ == "__main__":
    main()
