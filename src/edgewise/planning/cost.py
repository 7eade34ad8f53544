"""The cost of work: a sum of amounts times prices, and nothing else.

A backend returns the amounts (`Work`), the price table of the machine has the prices.
"""

from __future__ import annotations

from edgewise.backends import Work
from edgewise.planning.price_table import Constants, constants
from edgewise.problem import Problem

__all__ = ["seconds"]


def seconds(work: Work, way: str, problem: Problem, table: Constants | None = None) -> float:
    r"""Estimated time of one call, in seconds; `PlanError` where the way has no prices.

    .. math::  \sum_k \text{work}_k \times \text{price}_k
    """
    table = constants() if table is None else table
    price = table.price(problem.device.type, way, problem.dtype, training=problem.needs_grad)
    return 1e-9 * sum(amount * each for amount, each in zip(work, price, strict=True))
