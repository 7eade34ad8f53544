"""Laplacian eigenvectors: eigenvectors, the right ones, the same in a batch."""

import sys

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import AddLaplacianEigenvectorPE

from edgewise.errors import ArgumentError, GraphError
from edgewise.graphs import Complete, EdgeList, Grid, Window, disjoint_union
from edgewise.layouts import edges
from edgewise.nn import components, laplacian_eigenvectors
from edgewise.nn.positions import laplacian

DOUBLE = torch.float64
NORMALIZATIONS = ["sym", None]


@pytest.fixture(params=["kernel", "LAPACK"])
def way(request, monkeypatch):
    """Components of up to 64 nodes go to a compiled kernel, where there is one."""
    if request.param == "LAPACK":
        monkeypatch.setattr(laplacian, "_LARGEST_LANE", 0)


def dense_laplacian(graph, normalization="sym"):
    """The definition."""
    pairs = edges(graph)
    A = torch.zeros(graph.num_targets, graph.num_targets, dtype=DOUBLE)
    A[pairs.target, pairs.source] = 1
    A = torch.maximum(A, A.T).fill_diagonal_(0)
    degree = A.sum(0)
    if normalization is None:
        return degree.diag() - A
    root = torch.where(degree > 0, degree.rsqrt(), 0)
    return (degree > 0).double().diag() - root[:, None] * A * root


def undirected(num_nodes, probability, seed):
    """A connected random graph: a random tree plus random edges, both directions."""
    random = torch.Generator().manual_seed(seed)
    later = torch.arange(1, num_nodes)
    parent = (torch.rand(num_nodes - 1, generator=random) * later).long()
    dense = torch.rand(num_nodes, num_nodes, generator=random) < probability
    dense[later, parent] = True
    dense = (dense | dense.T).fill_diagonal_(False)
    return EdgeList(dense.nonzero().T, num_nodes=num_nodes)


def rayleigh(L, u):
    return (u * (L @ u)).sum(0) / (u * u).sum(0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("num_nodes", [2, 5, 23, 60, 70])
def test_they_are_the_first_eigenvectors_after_the_null_vector(num_nodes, normalization):
    graph = undirected(num_nodes, 0.1, seed=num_nodes)
    k = min(num_nodes - 1, 7)
    u = laplacian_eigenvectors(graph, k, normalization=normalization, dtype=DOUBLE)
    L = dense_laplacian(graph, normalization)
    values = rayleigh(L, u)
    torch.testing.assert_close(L @ u, u * values, rtol=0, atol=1e-12)
    torch.testing.assert_close(u.T @ u, torch.eye(k, dtype=DOUBLE), rtol=0, atol=1e-12)
    expected = torch.linalg.eigvalsh(L)[1 : k + 1]
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-12)
    assert (values > 1e-9).all()


@pytest.mark.parametrize("graph", [
    undirected(12, 0.2, seed=0),
    undirected(40, 0.05, seed=1),
    undirected(120, 0.03, seed=2),  # PyG solves this one by ARPACK
    Grid((4, 4)),  # repeated eigenvalues
    Complete(6),  # nothing but repeated eigenvalues
])  # fmt: skip
def test_they_are_pygs_up_to_a_choice_of_basis(graph):
    k = 5
    pairs = edges(graph)
    edge_index = torch.stack([pairs.source, pairs.target])
    data = Data(
        edge_index=edge_index,
        edge_attr=None,
        edge_weight=torch.ones(edge_index.shape[1], dtype=DOUBLE),
        num_nodes=graph.num_targets,
    )
    transform = AddLaplacianEigenvectorPE(k, attr_name="pe", is_undirected=True)
    theirs = transform(data).pe.to(DOUBLE)
    ours = laplacian_eigenvectors(graph, k, dtype=DOUBLE)
    L = dense_laplacian(graph)
    values, exact = rayleigh(L, ours), torch.linalg.eigvalsh(L)
    torch.testing.assert_close(values, rayleigh(L, theirs), rtol=0, atol=1e-8)
    for value in values:
        same = (values - value).abs() < 1e-6
        if int(((exact - value).abs() < 1e-6).sum()) > int(same.sum()):
            continue  # k cuts through an eigenspace, and every choice in it is right
        projector = ours[:, same] @ ours[:, same].T
        torch.testing.assert_close(
            projector, theirs[:, same] @ theirs[:, same].T, rtol=0, atol=1e-7
        )


def test_a_simple_spectrum_leaves_only_the_sign(close):
    graph = undirected(12, 0.2, seed=0)
    data = Data(
        edge_index=graph.edge_index,
        edge_weight=torch.ones(graph.num_edges, dtype=DOUBLE),
        num_nodes=12,
    )
    theirs = AddLaplacianEigenvectorPE(4, attr_name="pe", is_undirected=True)(data).pe.to(DOUBLE)
    ours = laplacian_eigenvectors(graph, 4, dtype=DOUBLE)
    close(ours, theirs * (ours * theirs).sum(0).sign())


@pytest.mark.usefixtures("way")
def test_a_batch_is_bit_for_bit_its_graphs_alone():
    graphs = [undirected(n, 0.1, seed=n) for n in (9, 4, 9, 2, 30, 9, 4, 17)]
    graphs.append(EdgeList([[], []], num_nodes=1))
    together = laplacian_eigenvectors(disjoint_union(graphs), 6)
    alone = torch.cat([laplacian_eigenvectors(graph, 6) for graph in graphs])
    assert torch.equal(together, alone)


def test_a_batch_in_many_runs_is_the_same(monkeypatch):
    graph = disjoint_union([undirected(7, 0.2, seed=seed) for seed in range(20)])
    at_once = laplacian_eigenvectors(graph, 3)
    monkeypatch.setattr(laplacian, "_CELLS", 150)
    assert torch.equal(laplacian_eigenvectors(graph, 3), at_once)


def test_components_of_an_edge_list_are_the_parts_of_a_union():
    # No eigenvalue occurs twice: in a repeated one, the order of nodes chooses the basis.
    graphs = [undirected(n, 0.2, seed=seed) for n, seed in ((6, 6), (5, 1), (6, 6))]
    union = disjoint_union(graphs)
    pairs = edges(union)
    order = torch.randperm(union.num_targets, generator=torch.Generator().manual_seed(0))
    renamed = EdgeList(order[torch.stack([pairs.source, pairs.target])], num_nodes=17)
    assert len(components(renamed).sizes) == 3
    ours = laplacian_eigenvectors(renamed, 3, dtype=DOUBLE)[order]
    theirs = laplacian_eigenvectors(union, 3, dtype=DOUBLE)
    torch.testing.assert_close(ours.abs(), theirs.abs(), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("way")
def test_every_component_skips_its_own_null_vector_and_none_is_left():
    graph = disjoint_union([undirected(8, 0.2, seed=0), undirected(5, 0.2, seed=1), Complete(1)])
    u = laplacian_eigenvectors(graph, 4, dtype=DOUBLE)
    L = dense_laplacian(graph)
    for part, nodes in enumerate([range(8), range(8, 13)]):
        here = torch.zeros(14, dtype=torch.bool)
        here[list(nodes)] = True
        mine = u * here[:, None]
        values = rayleigh(L, mine)
        torch.testing.assert_close(L @ mine, mine * values, rtol=0, atol=1e-12)
        assert (values > 1e-6).all(), part
    assert torch.equal(u[13], torch.zeros(4, dtype=DOUBLE))


def test_short_components_are_filled_with_zeros():
    u = laplacian_eigenvectors(EdgeList([[0], [1]], num_nodes=3), 3, dtype=DOUBLE)
    half = 0.5**0.5
    expected = torch.tensor([[half, 0, 0], [-half, 0, 0], [0, 0, 0]], dtype=DOUBLE)
    torch.testing.assert_close(u, expected)
    assert laplacian_eigenvectors(EdgeList([[], []], num_nodes=0), 2).shape == (0, 2)


def test_directions_copies_and_self_loops_do_not_matter():
    once = EdgeList([[0, 1, 2, 3], [1, 2, 3, 1]], num_nodes=4)
    much = EdgeList([[0, 1, 1, 2, 3, 2, 2], [1, 0, 2, 3, 1, 2, 3]], num_nodes=4)
    assert torch.equal(laplacian_eigenvectors(once, 3), laplacian_eigenvectors(much, 3))


def test_the_largest_entry_is_positive_and_the_first_of_equal_ones():
    u = laplacian_eigenvectors(undirected(23, 0.1, seed=23), 6, dtype=DOUBLE)
    assert (u.gather(0, u.abs().argmax(0, keepdim=True)) > 0).all()
    # Every wave along a path is even or odd: its largest entries are equal but for rounding.
    path = laplacian_eigenvectors(Window(50, left=1, right=1), 6, dtype=DOUBLE)
    largest = path.abs() > path.abs().amax(0) * (1 - 1e-9)
    assert (largest.sum(0) > 1).all()
    assert (path.gather(0, largest.byte().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("graph", [Grid((13, 9)), undirected(100, 0.03, seed=5)])
def test_a_large_component_is_solved_by_lanczos(graph, normalization, monkeypatch):
    k = 3
    dense = laplacian_eigenvectors(graph, k, normalization=normalization, dtype=DOUBLE)
    monkeypatch.setattr(laplacian, "_LARGEST_DENSE", 20)
    sparse = laplacian_eigenvectors(graph, k, normalization=normalization, dtype=DOUBLE)
    torch.testing.assert_close(sparse, dense, rtol=0, atol=1e-10)
    np.random.default_rng().standard_normal()  # no global state has a say
    again = laplacian_eigenvectors(graph, k, normalization=normalization, dtype=DOUBLE)
    assert torch.equal(sparse, again)


def test_beyond_1500_nodes_they_are_still_eigenvectors():
    graph = Grid((50, 40))
    u = laplacian_eigenvectors(graph, 2, dtype=DOUBLE)
    L = dense_laplacian(graph)
    values = rayleigh(L, u)
    torch.testing.assert_close(L @ u, u * values, rtol=0, atol=1e-10)
    torch.testing.assert_close(u.T @ u, torch.eye(2, dtype=DOUBLE), rtol=0, atol=1e-12)
    assert 0 < values[0] < values[1] < 0.004  # the slowest waves of 50 and of 40 nodes


def test_without_scipy_the_error_names_the_package(monkeypatch):
    monkeypatch.setattr(laplacian, "_LARGEST_DENSE", 2)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"a component of 3 nodes needs SciPy .*edgewise\[comp"):
        laplacian_eigenvectors(Complete(3), 1)


def test_an_iteration_that_does_not_converge_raises(monkeypatch):
    from scipy.sparse import linalg

    def never(*_args, **_settings):
        raise linalg.ArpackNoConvergence("%s", np.zeros(0), np.zeros((0, 0)))

    monkeypatch.setattr(laplacian, "_LARGEST_DENSE", 2)
    monkeypatch.setattr(linalg, "eigsh", never)
    with pytest.raises(ArgumentError, match="k=1 eigenvectors of a component with 3 nodes did not"):
        laplacian_eigenvectors(Complete(3), 1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ArgumentError, match="laplacian_eigenvectors: k must be at least 1, got 0"):
        laplacian_eigenvectors(Complete(3), 0)
    with pytest.raises(ArgumentError, match="normalization must be one of 'sym', None, got 'rw'"):
        laplacian_eigenvectors(Complete(3), 1, normalization="rw")
    with pytest.raises(GraphError, match="must be square"):
        laplacian_eigenvectors(Complete(3, 4), 1)
