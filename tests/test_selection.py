"""The test command: which tests a run takes."""

from itertools import combinations, product

import pytest

from tests.pairwise import cover, crossed, first_of
from tests.selection import choose


@pytest.mark.parametrize("sizes", [(3,), (1, 1), (4, 3), (7, 5, 4), (2, 2, 2, 2), (6, 1, 3)])
def test_a_cover_holds_every_pair_and_is_smaller_than_the_table(sizes):
    rows = cover(sizes)
    assert rows
    assert rows <= set(product(*map(range, sizes)))
    for i, j in combinations(range(len(sizes)), 2):
        pairs = {(row[i], row[j]) for row in rows}
        assert pairs == set(product(range(sizes[i]), range(sizes[j])))
    if len(sizes) > 2 and min(sizes) > 1:
        assert len(rows) < len(list(product(*map(range, sizes))))


def test_crossed_keeps_every_combination_and_marks_what_is_outside_the_cover():
    found = crossed("ab", (1, 2, 3), (None, True), ids=(None, lambda n: f"n{n}"))
    assert len(found) == 12
    assert found[0].id == "a-n1-None"
    ordinary = [param for param in found if not param.marks]
    assert 6 <= len(ordinary) < 12
    assert all(mark.name == "slow" for param in found for mark in param.marks)


def test_a_cover_of_single_values_is_as_long_as_the_longest_axis():
    rows = cover((5, 3, 2), strength=1)
    assert len(rows) == 5
    assert [{row[i] for row in rows} for i in range(3)] == [set(range(n)) for n in (5, 3, 2)]


def test_all_but_the_first_are_slow():
    assert [bool(param.marks) for param in first_of(2, range(4))] == [False, False, True, True]


class TestChoose:
    SECONDS = (9.0, 4.0, *(1.0 for _ in range(40)))
    NAMES = tuple(f"test_{i}" for i in range(42))

    def test_takes_everything_that_fits(self):
        assert choose(self.SECONDS, self.NAMES, 53.0, 3) == set(range(42))

    @pytest.mark.parametrize("rotation", range(12))
    def test_stays_within_the_budget_and_takes_the_longest_first(self, rotation):
        chosen = choose(self.SECONDS, self.NAMES, 26.0, rotation)
        assert sum(self.SECONDS[i] for i in chosen) <= 26.0
        assert {0, 1} <= chosen
        assert len(chosen) >= 14

    def test_rotations_take_every_test(self):
        turns = [choose(self.SECONDS, self.NAMES, 26.0, rotation) for rotation in range(5)]
        assert set().union(*turns) == set(range(42))

    def test_a_test_longer_than_the_budget_is_left_out(self):
        assert choose((100.0, 1.0), ("a", "b"), 10.0, 0) == {1}

    @pytest.mark.parametrize("rotation", [0, 1, 10**9])
    def test_an_empty_table_and_a_budget_of_nothing(self, rotation):
        assert choose((), (), 1.0, rotation) == set()
        assert choose((1.0,), ("a",), 0.0, rotation) == set()
