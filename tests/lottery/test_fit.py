"""Prices fitted to synthetic times."""

import numpy as np
import pytest
import torch

from edgewise.backends import Work
from edgewise.lottery.fit import PriceKey, Sample, estimate, fitted, price_of
from edgewise.lottery.regret import Choice, regret_of
from edgewise.planning.price_table import Constants, Price, shipped

TRUE = Price(products=0.03, entries=0.9, numbers=0.2, misses=0.05, calls=30_000)
KEY = PriceKey("cpu", "sdpa", torch.float32, False)


def samples(count, noise=0.0, seed=0):
    random = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        entries, width, numbers, misses = (10.0 ** random.uniform(*ends) for ends in RANGES)
        work = Work(entries * width, entries, numbers, misses, random.integers(1, 4))
        made.append(Sample(work, estimate(work, TRUE) * np.exp(noise * random.normal())))
    return made


RANGES = ((2, 7), (0.5, 2.5), (2, 7), (2, 8))


def test_the_prices_that_times_were_computed_from_are_fitted():
    assert price_of(samples(40)) == pytest.approx(TRUE, rel=1e-6)


def test_noise_changes_prices_little():
    assert price_of(samples(400, noise=0.2)) == pytest.approx(TRUE, rel=0.2)


def test_outliers_change_prices_little():
    made = samples(100, noise=0.05)
    made[::10] = [Sample(work, 5 * seconds) for work, seconds in made[::10]]
    assert price_of(made) == pytest.approx(TRUE, rel=0.3)


def test_prices_are_never_negative():
    """Times that fall with the number of entries fit no price above 0."""
    made = [Sample(Work(1000.0, float(n), 0.0), 1 / n) for n in range(1, 50)]
    assert min(price_of(made)) >= 0


def test_work_that_never_occurs_costs_nothing():
    made = [Sample(work._replace(misses=0.0), seconds) for work, seconds in samples(30)]
    assert price_of(made).misses == 0


def test_few_samples_scale_the_shipped_price():
    shipped_price = shipped().price(*KEY[:3], training=False)
    work = Work(1e6, 1e4, 1e3)
    (table, (fit,)) = fitted(
        [(KEY, Sample(work, 3 * estimate(work, shipped_price)))], shipped(), {}
    )
    assert fit.price == pytest.approx(Price(*(3 * each for each in shipped_price)))
    assert fit.samples == 1
    assert fit.most < 1e-9
    assert table.price(*KEY[:3], training=False) == fit.price
    # Prices that were not measured are filled in, so that the file can be read.
    assert Constants.from_dict(table.to_dict(), measured=True) == table


def test_half_precision_alone_gives_complete_constants():
    key = KEY._replace(dtype=torch.bfloat16, training=True)
    table, _ = fitted([(key, sample) for sample in samples(20)], shipped(), {"cpu": "abacus"})
    assert Constants.from_dict(table.to_dict(), measured=True) == table
    assert set(table.prices["cpu"]["sdpa"]) == {"float32", "bfloat16"}


def test_errors_are_those_of_the_fit():
    _, (fit,) = fitted([(KEY, sample) for sample in samples(400, noise=0.2)], shipped(), {})
    assert fit.median == pytest.approx(np.expm1(0.2 * 0.6745), rel=0.2)
    assert fit.most == pytest.approx(np.expm1(0.2 * 1.96), rel=0.2)
    assert str(fit.kind) == "sdpa, float32, forward"


def test_regret():
    right = Choice("a", {"x": 1.0, "y": 2.0}, {"x": 5.0, "y": 6.0})
    wrong = Choice("b", {"x": 1.0, "y": 2.0}, {"x": 3.0, "y": 2.0})
    alone = Choice("c", {"x": 1.0}, {"x": 9.0})
    regret = regret_of([right, wrong, alone])
    assert regret is not None
    assert (regret.count, regret.worst, regret.right) == (2, 1.5, 0.5)
    assert regret.median == pytest.approx(1.25)
    assert [choice.trial for choice in regret.examples] == ["b", "a"]
    assert regret_of([alone]) is None
