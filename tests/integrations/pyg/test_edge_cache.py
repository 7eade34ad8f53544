"""What is kept about edges is never stale, and goes with their tensor."""

import gc
import weakref

import pytest
import torch
import torch_geometric.nn as originals
from torch_geometric import EdgeIndex

from edgewise.graphs import EdgeList
from edgewise.integrations import pyg
from edgewise.integrations.pyg import edge_cache
from edgewise.integrations.pyg.connectivity import connectivity

N = 6


@pytest.fixture(autouse=True)
def _nothing_kept():
    edge_cache.forget()


@pytest.fixture
def edge_index():
    return torch.tensor([[0, 1, 2, 3, 4, 0, 1], [1, 2, 3, 4, 0, 2, 5]])


def layers(name="GATConv"):
    theirs = getattr(originals, name)(4, 3).double()
    ours = getattr(pyg, name)(4, 3).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def test_one_graph_for_all_layers_and_steps(edge_index):
    first = connectivity(edge_index, N, N, loops=N)
    assert connectivity(edge_index, N, N, loops=N) is first
    assert connectivity(edge_index, N, N).graph != first.graph
    assert connectivity(edge_index, N, N, reverse=True).graph.source.equal(edge_index[1])


def test_steps_build_no_more_graphs(edge_index, monkeypatch):
    ours, _ = layers()
    x, built = torch.randn(N, 4, dtype=torch.float64), []
    checked = EdgeList.__post_init__
    monkeypatch.setattr(EdgeList, "__post_init__", lambda g: (built.append(g), checked(g))[1])
    for _ in range(3):
        ours(x, edge_index).sum().backward()
    assert len(built) == 1


def write(tensor):
    tensor[0, 0] = 5


def write_view(tensor):
    tensor[:, 2:].t()[0] = torch.tensor([4, 1])


def write_unseen(tensor):
    tensor.data[1, 3] = 0


def write_with_numpy(tensor):
    tensor.numpy()[0, 1] = 3


def write_in_inference_mode(tensor):
    with torch.inference_mode():
        tensor[0, 0] = 5


def replace(tensor):
    tensor.set_((tensor + 1) % N)


def shrink(tensor):
    tensor.resize_(2, 3)


CHANGES = (
    *(write, write_view, write_unseen, write_with_numpy, write_in_inference_mode),
    *(replace, shrink),
)


@pytest.mark.parametrize("name", ["GATConv", "GCNConv", "SAGEConv", "TransformerConv"])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_in_place(change, name, edge_index):
    ours, theirs = layers(name)
    x = torch.randn(N, 4, dtype=torch.float64)
    before = ours(x, edge_index)
    torch.testing.assert_close(before, theirs(x, edge_index))
    change(edge_index)
    after = ours(x, edge_index)
    torch.testing.assert_close(after, theirs(x, edge_index))
    assert not torch.allclose(before, after)


def test_a_view_of_edges_that_change(edge_index):
    ours, theirs = layers()
    x, view = torch.randn(N, 4, dtype=torch.float64), edge_index[:, 1:5]
    ours(x, view)
    edge_index[0, 3] = 0
    torch.testing.assert_close(ours(x, view), theirs(x, view))


def test_a_new_tensor_at_the_same_address(edge_index):
    ours, theirs = layers()
    x, memory_of_edges = torch.randn(N, 4, dtype=torch.float64), edge_index.numpy()
    for _ in range(20):
        memory_of_edges[:] = torch.randint(N, edge_index.shape).numpy()
        again = torch.from_numpy(memory_of_edges)
        assert again.data_ptr() == edge_index.data_ptr()
        torch.testing.assert_close(ours(x, again), theirs(x, again))
        del again


def test_many_short_lived_tensors():
    """Numbers of objects and addresses are used again by whoever comes next."""
    ours, theirs = layers("GCNConv")
    x = torch.randn(N, 4, dtype=torch.float64)
    for _ in range(50):
        edges = torch.randint(N, (2, 7))
        torch.testing.assert_close(ours(x, edges), theirs(x, edges))


@pytest.mark.parametrize("name", ["GATConv", "GCNConv"])
def test_nothing_outlives_its_tensor(name):
    ours, _ = layers(name)
    x = torch.randn(N, 4, dtype=torch.float64, requires_grad=True)
    edges = torch.randint(N, (2, 7))
    ours(x, edges).sum().backward()
    entry = edge_cache._ENTRIES[edges]
    kept = [weakref.ref(entry), *(weakref.ref(value) for value in entry.results.values())]
    del entry
    edges = None
    gc.collect()
    assert [ref() for ref in kept] == [None] * len(kept)
    assert not len(edge_cache._ENTRIES)


def test_one_tensor_is_used_in_few_ways(edge_index):
    for size in range(N, N + 40):
        connectivity(edge_index, size, size)
    assert len(edge_cache._ENTRIES[edge_index].results) <= 16


def test_forget_one(edge_index):
    first, other = connectivity(edge_index, N, N), torch.zeros(2, 1, dtype=torch.long)
    connectivity(other, N, N)
    pyg.forget(edge_index)
    assert len(edge_cache._ENTRIES) == 1
    assert connectivity(edge_index, N, N) is not first


def test_edge_index_of_pyg_is_found_again(edge_index):
    wrapped = EdgeIndex(edge_index, sparse_size=(N, N))
    assert connectivity(wrapped, N, N) is connectivity(wrapped, N, N)


@pytest.mark.filterwarnings("ignore:Sparse ")
@pytest.mark.parametrize("layout", ["csr", "coo"])
def test_a_sparse_matrix_that_changes(layout, edge_index):
    ours, theirs = layers()
    x = torch.randn(N, 4, dtype=torch.float64)
    matrix = torch.sparse_coo_tensor(edge_index.flip(0), torch.ones(7), (N, N)).coalesce()
    matrix = matrix.to_sparse_csr() if layout == "csr" else matrix
    torch.testing.assert_close(ours(x, matrix), theirs(x, matrix))
    columns = matrix.col_indices() if layout == "csr" else matrix._indices()[1]
    columns[-1] = 5
    torch.testing.assert_close(ours(x, matrix), theirs(x, matrix))


def test_edges_made_in_inference_mode():
    ours, theirs = layers()
    x = torch.randn(N, 4, dtype=torch.float64)
    with torch.inference_mode():
        edges = torch.randint(N, (2, 7))
        ours(x, edges)
        edges[0, 0] = (edges[0, 0] + 1) % N
        torch.testing.assert_close(ours(x, edges), theirs(x, edges))
    assert ours(x, edges).requires_grad  # what was kept is good for training too
