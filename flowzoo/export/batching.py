"""The batch sizes of a served flow, and the file that gives them to TensorFlow Serving."""

from __future__ import annotations

from pathlib import Path

from flowzoo.density import Density
from flowzoo.utils.sizes import rows_per_chunk

FILE_NAME = "batching_params.pbtxt"  # the name that TensorFlow Serving looks for
_TEXT = """\
# Read by tensorflow_model_server --enable_batching --enable_per_model_batching_parameters.
# Threads are shared by all models, so they are set in the server's own --batching_parameters_file.

# Maximum rows of a request and of a batch. A larger request gets status 400: split it.
max_batch_size {{ value: {largest} }}
# How long a request waits for others to fill its batch. With low traffic, this is the cost of batching.
batch_timeout_micros {{ value: 1000 }}
# Maximum batches in the queue. Further requests get status 503, so that clients notice an overload at once.
max_enqueued_batches {{ value: 100 }}
# A batch is padded to the next of these sizes, so that only sizes of the warm-up occur.
# The last must equal max_batch_size, or the model does not load.
{sizes}
"""


def batch_sizes(density: Density) -> list[int]:
    """Powers of two up to the largest batch: 1024 rows, fewer for images."""
    largest = rows_per_chunk(density.event_shape, 1024)
    return [2**k for k in range(largest.bit_length())]


def write_batching_params(sizes: list[int], directory: Path) -> None:
    """Writes ``batching_params.pbtxt``, a text proto ``tensorflow.serving.BatchingParameters``."""
    lines = "\n".join(f"allowed_batch_sizes: {size}" for size in sizes)
    (directory / FILE_NAME).write_text(_TEXT.format(largest=sizes[-1], sizes=lines))
