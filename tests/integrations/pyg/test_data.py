"""From data of PyTorch Geometric to graphs, and back."""

import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.nn import SAGEConv

from edgewise import Blocks, Causal, EdgeList, attention
from edgewise.errors import DataError, GraphError
from edgewise.integrations import pyg


@pytest.fixture
def data():
    edge_index = torch.tensor([[0, 1, 2, 2], [1, 2, 0, 0]])
    return Data(x=torch.randn(5, 3), edge_index=edge_index, edge_attr=torch.randn(4, 2))


def test_a_graph_in_the_order_of_its_edges(data):
    graph = pyg.from_data(data)
    assert graph == EdgeList(data.edge_index, num_nodes=5)
    assert torch.equal(graph.edge_index, data.edge_index)
    assert pyg.from_data(data) is graph  # and with it all that was worked out about it


def test_a_graph_that_changes(data):
    before = pyg.from_data(data)
    data.edge_index[0, 0] = 4
    assert pyg.from_data(data).source.tolist() == [4, 1, 2, 2]
    assert before.source.tolist() == [0, 1, 2, 2]


def test_a_batch(data):
    batch = Batch.from_data_list([Data(num_nodes=n) for n in (5, 2, 5)])
    batch.edge_index = torch.cat([data.edge_index, data.edge_index + 7], 1)
    graph, everybody = pyg.from_batch(batch)
    assert everybody == Blocks([5, 2, 5])
    assert graph.num_targets == 12
    assert graph.target.tolist() == [*data.edge_index[1], *(data.edge_index[1] + 7)]
    q = torch.randn(1, 12, 4)
    assert attention(q, q, q, everybody)[:, 5:7].isfinite().all()


def test_kinds_of_edges():
    data = HeteroData(paper={"num_nodes": 2}, author={"x": torch.zeros(3, 1)})
    data["author", "writes", "paper"].edge_index = torch.tensor([[0, 2], [1, 1]])
    data["paper", "cites", "paper"].edge_index = torch.zeros(2, 0, dtype=torch.long)
    graphs = pyg.from_hetero(data)
    assert list(graphs) == data.edge_types
    assert [(g.num_sources, g.num_targets) for g in graphs.values()] == [(3, 2), (2, 2)]


def test_a_block_of_a_neighbor_loader():
    """Four seeds hear nine nodes, the seeds among them first, as a loader numbers them."""
    block, x = torch.stack([torch.randint(9, (20,)), torch.randint(4, (20,))]), torch.randn(9, 3)
    graph = pyg.from_edge_index(block, size=(9, 4))
    assert (graph.num_sources, graph.num_targets) == (9, 4)
    ours, theirs = pyg.SAGEConv((3, 3), 5), SAGEConv((3, 3), 5)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours((x, x[:4]), block), theirs((x, x[:4]), block))
    assert ours.why_original() is None


@pytest.mark.filterwarnings("ignore:Sparse ")
def test_sizes_that_tensors_know():
    ends = torch.tensor([[0, 2], [1, 1]])
    assert pyg.from_edge_index(EdgeIndex(ends, sparse_size=(3, 2))).num_sources == 3
    matrix = torch.sparse_coo_tensor(ends.flip(0), torch.ones(2), (2, 3)).coalesce()
    assert pyg.from_edge_index(matrix) == EdgeList(ends, num_targets=2, num_sources=3)


def test_there_and_back(data):
    graph = pyg.from_data(data)
    back = pyg.to_edge_index(graph)
    assert back.as_tensor().data_ptr() == graph.edge_index.data_ptr()  # no copy
    assert back.sparse_size() == (5, 5)
    assert pyg.from_edge_index(back) == graph
    again = pyg.to_data(graph, x=data.x)
    assert again.x is data.x
    assert torch.equal(again.edge_index, data.edge_index)
    assert again.num_nodes == 5


def test_a_graph_without_edges_in_memory():
    assert pyg.to_edge_index(Causal(3)).as_tensor().tolist() == [
        [0, 0, 1, 0, 1, 2],
        [0, 1, 1, 2, 2, 2],
    ]


ERRORS = {
    "no edges": (pyg.from_data, (Data(num_nodes=3),), DataError, "Data with edge_index, got Data("),
    "no data": (pyg.from_data, (3,), DataError, "expected a Data with edge_index, got int"),
    "hetero": (pyg.from_data, (HeteroData(),), DataError, "several kinds of edges"),
    "no batch": (pyg.from_batch, (Data(num_nodes=3),), DataError, "expected a Batch with ptr"),
    "not hetero": (pyg.from_hetero, (Data(),), DataError, "expected a HeteroData"),
    "no nodes": (
        pyg.from_edge_index,
        (torch.zeros(2, 1, dtype=torch.long),),
        GraphError,
        "the number of nodes is missing",
    ),
    "out of range": (
        pyg.from_edge_index,
        (torch.full((2, 1), 7), 3),
        GraphError,
        "below num_targets=3, got 7",
    ),
    "two sets": (
        pyg.to_data,
        (EdgeList([[0], [0]], num_targets=1, num_sources=2),),
        GraphError,
        "graph has 1 targets and 2 sources",
    ),
    "no graph": (pyg.to_edge_index, (3,), GraphError, "to_edge_index: graph must be a graph"),
}


@pytest.mark.parametrize("which", ERRORS)
def test_errors(which):
    function, given, kind, text = ERRORS[which]
    with pytest.raises(kind) as caught:
        function(*given)
    assert text in str(caught.value)
