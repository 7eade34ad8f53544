"""Thousands of random calls against float64: output, log-sum-exp and every gradient.

A failure prints its seed; run it alone with ::

    from tests.backends.native.cases import assert_exact
    from tests.backends.native.fuzzing import aggregate_case, attention_case

    assert_exact(attention_case(seed), "native")  # or aggregate_case(seed).assert_exact("native")
"""

import pytest

from tests.backends.native.backend import NATIVE
from tests.backends.native.cases import assert_exact
from tests.backends.native.fuzzing import aggregate_case, attention_case
from tests.pairwise import first_of

CHUNK = 100
ATTENTION = range(0, 4000, CHUNK)
AGGREGATE = range(0, 800, CHUNK)


def test_there_are_enough_cases():
    assert len(ATTENTION) * CHUNK >= 2000
    assert len(AGGREGATE) * CHUNK >= 400


@pytest.mark.parametrize("first", first_of(8, ATTENTION))
def test_attention(first):
    for seed in range(first, first + CHUNK):
        case = attention_case(seed)
        try:
            assert_exact(case, NATIVE)
        except Exception as error:
            raise AssertionError(f"{error}\nin {case}") from error


@pytest.mark.parametrize("first", first_of(3, AGGREGATE))
def test_aggregate(first):
    for seed in range(first, first + CHUNK):
        case = aggregate_case(seed)
        try:
            case.assert_exact(NATIVE)
        except Exception as error:
            raise AssertionError(f"{error}\nin {case}") from error
