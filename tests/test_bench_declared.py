"""The ratio of declared to coded polls comes with its spread, and a wide one is doubted."""

from __future__ import annotations

from bench.declared import doubt, summary


def test_the_ratio_is_the_median_of_the_turns_and_its_spread_the_middle_half() -> None:
    result = summary([(1.0, 1.1), (2.0, 2.2), (1.0, 1.12), (1.0, 1.08), (1.0, 5.0)])
    assert (result["turns"], result["ratio"], result["code_ms"]) == (5, 1.1, 1.0)
    low, high = result["spread"]
    assert 1.08 <= low < 1.1 < high


def test_a_ratio_is_doubted_if_its_middle_half_is_wider_than_a_tenth() -> None:
    assert doubt({"ratio": 1.1, "spread": [1.06, 1.14]}) is None
    assert doubt({"ratio": 1.0, "spread": [0.95, 1.1]}) == "the middle half of the ratios lies 15% apart"
