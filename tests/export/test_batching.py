"""The batch sizes of a served flow, and batching_params.pbtxt."""

import pytest
from google.protobuf import text_format

from flowzoo.export.batching import batch_sizes, write_batching_params
from flowzoo.testing import make_flow


def test_sizes_are_powers_of_two_up_to_1024_rows_of_a_table():
    flow = make_flow("realnvp", (2,), dtype="float32", steps=2, hidden_units=(4,))
    assert batch_sizes(flow) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]


def test_large_events_come_in_smaller_batches():
    image = make_flow("realnvp", (32, 32, 3), dtype="float32", levels=1, channels=4, blocks=1)
    assert batch_sizes(image)[-1] == 128


def test_the_file_is_what_the_server_reads(parse_server_text, tmp_path):
    write_batching_params([1, 2, 4], tmp_path)
    text = (tmp_path / "batching_params.pbtxt").read_text()
    parameters = parse_server_text("BatchingParameters", text)
    sizes = list(parameters.allowed_batch_sizes)
    assert sizes == sorted(set(sizes)) == [1, 2, 4]
    # Otherwise the version does not load: WrapSessionForBatching in the server's bundle_factory_util.cc.
    assert sizes[-1] == parameters.max_batch_size.value
    assert 0 < parameters.batch_timeout_micros.value <= 10_000
    assert parameters.max_enqueued_batches.value > 0


def test_the_parser_of_this_test_can_fail(parse_server_text):
    with pytest.raises(text_format.ParseError):
        parse_server_text("BatchingParameters", "max_batch_size: 8")
