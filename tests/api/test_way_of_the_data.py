"""The way of the data: which modules a call of attention passes `query` and `graph` through.

A *stop* is a module that is entered with the value, in the order in which that happens; modules of
the ground floors (shapes, ops, graphs), which check or read a value and return to their caller,
belong to the stop that calls them. A *climb* is a step to a stop on a higher floor.
"""

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch

import edgewise as ew

SOURCE = Path(ew.__file__).parent
FLOORS = ("problem", "backends", "planning", "functional")  # upward; all others are ground floors
MOST_STOPS, MOST_CLIMBS = 7, 1


def _holds(argument: object, value: object) -> bool:
    """Whether an argument is the value, or the inputs or the call that hold it."""
    if isinstance(argument, tuple) and any(item is value for item in argument):
        return True
    inputs = getattr(argument, "inputs", argument)
    return any(
        held is value
        for held in (argument, getattr(inputs, "query", None), getattr(argument, "graph", None))
    )


def stops_of(call: Callable[[], object], value: object) -> list[str]:
    """The stops of a value during a call, as ``floor/module``."""
    stops: list[str] = []

    def entered(frame, event, _):
        file = Path(frame.f_code.co_filename)
        if event != "call" or SOURCE not in file.parents:
            return
        stop = file.relative_to(SOURCE).with_suffix("").as_posix()
        arguments = frame.f_code.co_varnames[: frame.f_code.co_argcount]
        keywords = frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount
        arguments += frame.f_code.co_varnames[frame.f_code.co_argcount : keywords]
        held = any(_holds(frame.f_locals.get(name), value) for name in arguments)
        if held and stop.split("/")[0] in FLOORS and stop not in stops[-1:]:
            stops.append(stop)

    sys.setprofile(entered)
    try:
        call()
    finally:
        sys.setprofile(None)
    return stops


def climbs_in(stops: list[str]) -> int:
    """How many steps lead to a higher floor."""
    floors = [FLOORS.index(stop.split("/")[0]) for stop in stops]
    return sum(after > before for before, after in pairwise(floors))


def _calls() -> dict[str, tuple[ew.Graph, dict[str, object]]]:
    edges = ew.EdgeList(torch.randint(32, (2, 90)), num_nodes=32)
    bias = torch.randn(4, 90)
    return {
        "causal, chosen": (ew.Causal(32), {}),
        "edges, chosen": (edges, {}),
        "a window, named": (ew.Window(32, left=3, right=0), {"backend": "gather"}),
        "edges with a bias": (edges, {"bias": bias, "backend": "gather"}),
        "dropout": (edges, {"dropout": 0.5, "backend": "gather"}),
    }


@pytest.mark.parametrize("name", _calls())
@pytest.mark.parametrize("what", ["query", "graph"])
def test_few_stops_and_one_climb(name, what):
    graph, options = _calls()[name]
    query, key, value = torch.randn(3, 1, 4, 32, 16).unbind()

    def call() -> torch.Tensor:
        return ew.attention(query, key, value, graph, **options)

    call()
    paths = graph.__dict__["_memory"].get("shortcuts", {})
    paths.update(dict.fromkeys(paths))  # no fast path: the whole way
    stops = stops_of(call, query if what == "query" else graph)
    reached = [stop.startswith("backends/") for stop in stops]
    assert any(reached) == (what == "query"), "what is prepared holds no graph"
    down = stops[: reached.index(True) + 1] if what == "query" else stops
    assert stops[0] == "functional/attention"
    assert len(down) <= MOST_STOPS, down
    assert climbs_in(down) <= MOST_CLIMBS, down


def test_a_repeated_call_has_two_stops():
    """The fast path: the plan cache, and the kernel."""
    graph, query = ew.Causal(33), torch.randn(1, 4, 33, 16)
    for _ in range(2):
        ew.attention(query, query, query, graph)
    stops = stops_of(lambda: ew.attention(query, query, query, graph), query)
    assert stops[:2] == ["functional/attention", "planning/plan_cache"]
    assert climbs_in(stops) == 0, stops
    assert len(stops) <= 5, stops
