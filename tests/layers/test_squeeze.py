import pytest

from flowzoo.layers import Squeeze


@pytest.mark.parametrize("event", [(3, 4, 1), (4, 3, 1), (4,)])
def test_odd_sizes_are_refused_with_advice(event):
    with pytest.raises(ValueError, match=r"even height and width; got.*Pad or crop"):
        Squeeze().build((None, *event))
