"""Many clients at once, and new versions under load."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from flowzoo.client import RefusedError

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def test_32_clients_with_batches_of_all_sizes(server, known):
    def ask(number):
        model = ("vector", "conditional", "image")[number % 3]
        about, sizes = known[model], np.random.default_rng(number).choice([1, 7, 50, 200], 6)
        with server.client(model, ("http", "grpc")[number % 2]) as client:
            for start, rows in enumerate(sizes):
                part = slice(start, start + int(rows))
                np.testing.assert_allclose(
                    client.log_prob(*about.part(part)), about.log_prob[part], **TOLERANCE
                )

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(ask, range(32)))


def test_one_client_may_be_shared_by_threads(server, known):
    about = known["vector"]
    for transport in ("http", "grpc"):
        with server.client("vector", transport) as client, ThreadPoolExecutor(16) as pool:
            rows = [slice(start, start + 10) for start in range(0, 800, 10)]
            for part, got in zip(rows, pool.map(lambda p: client.log_prob(about.x[p]), rows), strict=True):
                np.testing.assert_allclose(got, about.log_prob[part], **TOLERANCE)


class Load:
    """Clients that send requests all the time; each must get one of the expected answers."""

    def __init__(self, served, x, answers, clients=4, rest=0.005):
        self.asked = itertools.count()
        self._rest = rest
        self._served, self._x, self._answers = served, x, answers
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._work = [self._pool.submit(self._ask, number) for number in range(clients)]

    def _ask(self, number):
        with self._served.client("vector", ("http", "grpc")[number % 2], retries=0) as client:
            while not self._stop.is_set():
                got = client.log_prob(self._x)
                next(self.asked)
                time.sleep(self._rest)
                assert any(np.allclose(got, wanted, **TOLERANCE) for wanted in self._answers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._pool.shutdown()
        for work in self._work:
            work.result()  # Raises what the client raised.


def swap(vector_server, known, other, publish, versions, pause, **load):
    served, folder = vector_server
    x, wanted = known["vector"].x[:20], [known["vector"].log_prob[:20], other[1][:20]]
    exported = [folder / "1", other[0]]
    with Load(served, x, wanted, **load) as load:
        for version in range(2, 2 + versions):
            time.sleep(pause)
            publish(exported[(version - 1) % 2], folder / str(version))
            served.wait_for("vector", version)
        time.sleep(pause)
    with served.client("vector") as client:
        np.testing.assert_allclose(client.log_prob(x), wanted[versions % 2], **TOLERANCE)
        assert [v.version for v in client.status() if v.state == "AVAILABLE"] == [1 + versions]
    return next(load.asked)


def test_a_new_version_under_load_fails_no_request(vector_server, known, other, publish):
    assert swap(vector_server, known, other, publish, versions=2, pause=0.3) > 50


@pytest.mark.slow
def test_many_new_versions_under_load(vector_server, known, other, publish):
    assert swap(vector_server, known, other, publish, versions=10, pause=0.5, clients=16, rest=0) > 500


def test_warm_up_spares_the_first_client(vector_server, other, publish):
    """One of three versions must show it, because on a busy machine any request may wait."""
    served, folder = vector_server
    slow = []
    for version in (2, 3, 4):
        publish(other[0], folder / str(version))
        served.wait_for("vector", version)
        seconds = list(first_and_later_requests(served))
        if all(first < 3 * np.median(later) + 0.1 for first, *later in seconds):
            return
        slow.append(seconds)
    pytest.fail(f"the first requests of each version waited: {slow}")


def first_and_later_requests(served):
    """Seconds of 30 requests of each of two kinds; without a warm-up the first takes over 100 ms."""
    with served.client("vector", "grpc") as client:
        client.metadata()  # Opens the connection.
        for ask in (client.sample, lambda rows: client.encode(np.ones((rows, 2)))):
            seconds = []
            for _ in range(30):
                before = time.monotonic()
                ask(5)
                seconds.append(time.monotonic() - before)
            yield seconds


def flip_weights(version):
    (shard,) = (version / "variables").glob("variables.data-*")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)


def drop_weights(version):
    (shard,) = (version / "variables").glob("variables.data-*")
    shard.unlink()


def drop_graph(version):
    (version / "saved_model.pb").write_bytes(b"no protocol buffer")


@pytest.mark.parametrize("spoil", [flip_weights, drop_weights, drop_graph])
def test_a_broken_version_leaves_the_old_one_and_does_not_block_the_next(
    vector_server, known, other, publish, spoil
):
    served, folder = vector_server
    x, old, new = known["vector"].x[:20], known["vector"].log_prob[:20], other[1][:20]
    with Load(served, x, [old], clients=2) as load:
        publish(folder / "1", folder / "2", spoil)
        served.wait_for("vector", 2, "END")
        assert next(load.asked) > 0
    with served.client("vector") as client:
        np.testing.assert_allclose(client.log_prob(x), old, **TOLERANCE)
        (broken,) = [v for v in client.status() if v.version == 2]
        assert broken.error
    with served.client("vector", version=2) as client, pytest.raises(RefusedError, match="not found"):
        client.log_prob(x)
    publish(other[0], folder / "3")
    served.wait_for("vector", 3)
    with served.client("vector") as client:
        np.testing.assert_allclose(client.log_prob(x), new, **TOLERANCE)


def test_a_named_version_that_is_gone_is_an_error(vector_server, other, publish):
    served, folder = vector_server
    with served.client("vector", version=1) as client:
        client.sample(2)
        publish(other[0], folder / "2")
        served.wait_for("vector", 2)
        served.wait_for("vector", 1, "END")
        with pytest.raises(RefusedError, match=r"model 'vector' at .*sample with seed int64 \(2,\)"):
            client.sample(2)
