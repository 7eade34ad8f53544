"""Small data sets."""

import numpy as np
import pytest

from edgewise.training.data import GraphDataset, from_arrays


def rings_and_paths(num_graphs: int = 24) -> dict[str, np.ndarray]:
    """Graphs of 4 to 7 nodes in a row; every other one is closed to a ring."""
    edges, sizes, counts, labels = [], [], [], []
    for number in range(num_graphs):
        size = 4 + number % 4
        pairs = [(i, i + 1) for i in range(size - 1)] + ([(size - 1, 0)] if number % 2 else [])
        both = np.array(pairs + [(b, a) for a, b in pairs]).T
        edges.append(both)
        sizes.append(size)
        counts.append(both.shape[1])
        labels.append(number % 2)
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(sum(sizes), 3)).astype(np.float32),
        "edge_index": np.ascontiguousarray(np.concatenate(edges, axis=1)),
        "y": np.array(labels),
        "node_ptr": np.concatenate([[0], np.cumsum(sizes)]),
        "edge_ptr": np.concatenate([[0], np.cumsum(counts)]),
    }


def two_groups(num_nodes: int = 40) -> dict[str, np.ndarray]:
    """One graph of two cliques, each of which is a class."""
    half = num_nodes // 2
    group = np.arange(num_nodes) // half
    source, target = np.nonzero((group[:, None] == group) & ~np.eye(num_nodes, dtype=bool))
    return {
        "x": np.random.default_rng(0).normal(size=(num_nodes, 4)).astype(np.float32),
        "edge_index": np.stack([source, target]),
        "y": group,
    }


@pytest.fixture
def graph_arrays() -> dict[str, np.ndarray]:
    return rings_and_paths()


@pytest.fixture
def node_arrays() -> dict[str, np.ndarray]:
    return two_groups()


@pytest.fixture(params=["graph-classes", "graph-values", "node-classes", "node-values"])
def small(request: pytest.FixtureRequest) -> GraphDataset:
    """One small data set for each task."""
    arrays = rings_and_paths() if request.param.startswith("graph") else two_groups()
    if request.param.endswith("values"):
        arrays["y"] = arrays["y"] * 3.5 + 1.0
    data = from_arrays("small", arrays)
    assert data.task == request.param
    return data


@pytest.fixture
def small_graphs(graph_arrays: dict[str, np.ndarray]) -> GraphDataset:
    return from_arrays("small", graph_arrays)


@pytest.fixture
def small_nodes(node_arrays: dict[str, np.ndarray]) -> GraphDataset:
    return from_arrays("small", node_arrays)
