import numpy as np

from flowzoo.utils.metrics import describe_metrics


def test_metrics_in_words():
    metrics = {"rows": 1000, "nll": 1.0, "nll_se": 0.5, "bits_per_dim": 2.0, "bits_per_dim_se": 0.25}
    assert describe_metrics(metrics) == (
        "2.0000 ± 0.2500 bits/dim, 1.0000 ± 0.5000 nats (negative log-likelihood of 1,000 rows)"
    )
    assert "bits" not in describe_metrics({"rows": 1, "nll": np.float64(1), "nll_se": 0.0})
