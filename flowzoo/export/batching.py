"""The batch sizes of a served flow, and the file that tells TensorFlow Serving of them."""

from __future__ import annotations

from pathlib import Path

from flowzoo.density import Density
from flowzoo.utils.sizes import rows_per_chunk

FILE_NAME = "batching_params.pbtxt"  # the name that TensorFlow Serving looks for
_TEXT = """\
# Read by tensorflow_model_server --enable_batching --enable_per_model_batching_parameters.
# Threads are shared by all models, so they are set in the server's own --batching_parameters_file.

# The most rows of one request, and of one batch. More in a request is answered by 400: split it.
max_batch_size {{ value: {largest} }}
# How long a request waits for others to share its batch: what batching costs when traffic is low.
batch_timeout_micros {{ value: 1000 }}
# Full batches that may wait. Beyond that the answer is 503: a client should hear of an overload at once.
max_enqueued_batches {{ value: 100 }}
# A batch is padded to the next of these, so that only sizes occur which the warm-up has run.
# The last must equal max_batch_size, or the model does not load.
{sizes}
"""


def batch_sizes(density: Density) -> list[int]:
    """Powers of two up to what one batch may hold: 1024 rows, fewer for images."""
    largest = rows_per_chunk(density.event_shape, 1024)
    return [2**k for k in range(largest.bit_length())]


def write_batching_params(sizes: list[int], directory: Path) -> None:
    """Writes ``batching_params.pbtxt``, a text proto ``tensorflow.serving.BatchingParameters``."""
    lines = "\n".join(f"allowed_batch_sizes: {size}" for size in sizes)
    (directory / FILE_NAME).write_text(_TEXT.format(largest=sizes[-1], sizes=lines))
