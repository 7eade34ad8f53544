"""Every graph model learns something from real data: nodes of two graphs, and molecules of ESOL."""

import pytest
import torch
import torch.nn.functional as F

from edgewise.graphs import Blocks, EdgeList, SelfLoops
from edgewise.models import (
    GNN,
    GPS,
    Exphormer,
    GraphModel,
    Graphormer,
    GraphTransformer,
    NodeModel,
    exphormer_graph,
)
from edgewise.nn import (
    degree_coordinates,
    laplacian_eigenvectors,
    random_signs,
    random_walk,
)
from edgewise.training import load
from tests.learning import assert_learns

DIM, WALK, STEPS, MOLECULES = 16, 8, 15, 64


# --- Molecules ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def molecules(data_root):
    data = load("esol", data_root)
    part = data.topology.part(torch.arange(MOLECULES))
    graph = EdgeList(part.edge_index, num_nodes=len(part.nodes))
    y = data.y[:MOLECULES]
    return data.x[part.nodes], graph, tuple(part.sizes.tolist()), (y - y.mean()) / y.std()


SETTINGS = {"heads": 4, "layers": 2}
OF_MOLECULES = {
    "graph transformer": (
        lambda n: GraphModel(GraphTransformer(n, DIM, encoding_dim=WALK, **SETTINGS), DIM, 1),
        ("laplacian",),
    ),
    "graph transformer, edges": (
        lambda n: GraphModel(
            GraphTransformer(n, DIM, encoding_dim=WALK, edge_dim=2, **SETTINGS), DIM, 1
        ),
        ("laplacian", "edge"),
    ),
    "graphormer": (lambda n: Graphormer(n, DIM, 1, edge_dim=2, **SETTINGS), ("edge",)),
    "gps": (
        lambda n: GraphModel(GPS(n, DIM, encoding_dim=WALK, edge_dim=2, **SETTINGS), DIM, 1),
        ("walk", "edge", "blocks"),
    ),
    "exphormer": (
        lambda n: GraphModel(Exphormer(n, DIM, edge_dim=2, **SETTINGS), DIM, 1),
        ("edge", "expander"),
    ),
    **{
        name: (lambda n, name=name: GraphModel(GNN(n, DIM, name, layers=3), DIM, 1), ())
        for name in ("gcn", "sage", "gin", "gatv2")
    },
    "monet": (lambda n: GraphModel(GNN(n, DIM, "monet", layers=3), DIM, 1), ("edge",)),
}


@pytest.mark.parametrize("name", OF_MOLECULES)
def test_molecules(name, molecules):
    torch.manual_seed(0)
    x, graph, sizes, y = molecules
    build, wanted = OF_MOLECULES[name]
    model = build(x.shape[1])
    makers = {
        "edge": lambda: {"edge": degree_coordinates(graph)},  # ESOL is read without its bonds
        "walk": lambda: {"encoding": random_walk(graph, WALK)},
        "laplacian": lambda: {"encoding": laplacian_eigenvectors(graph, WALK)},
        "blocks": lambda: {"everywhere": Blocks(sizes)},
        "expander": lambda: {"everywhere": exphormer_graph(graph, sizes=sizes)},
    }
    given = {"readout": Blocks([1] * len(sizes), sizes)}
    for item in wanted:
        given |= makers[item]()

    def loss():
        turned = dict(given)
        if "laplacian" in wanted:
            turned["encoding"] = random_signs(given["encoding"], graph)
        return F.mse_loss(model(x, graph, **turned)[:, 0], y)

    assert_learns(model, loss, steps=STEPS)


# --- Nodes ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def papers(data_root):
    data = load("cora", data_root)
    graph = EdgeList(data.topology.whole().edge_index, num_nodes=data.topology.num_nodes)
    return data.x[:, ::10] * 50, graph, data.y, data.split(0).train  # a tenth of the words


OF_PAPERS = {
    "graph transformer": (lambda n: GraphTransformer(n, DIM, **SETTINGS), None),
    "exphormer": (lambda n: Exphormer(n, DIM, **SETTINGS), exphormer_graph),
    "gcn": (lambda n: GNN(n, DIM, "gcn", layers=2), None),
    "sage": (lambda n: GNN(n, DIM, "sage", layers=2), None),
    "gat": (lambda n: GNN(n, DIM, "gat", layers=2), None),
}


@pytest.mark.parametrize("name", OF_PAPERS)
def test_papers(name, papers):
    torch.manual_seed(0)
    x, graph, y, train = papers
    build, rule = OF_PAPERS[name]
    model = NodeModel(build(x.shape[1]), DIM, 7)
    given = {} if rule is None else {"everywhere": rule(graph)}
    where = graph | SelfLoops(graph.num_targets) if name == "gat" else graph

    def loss():
        return F.cross_entropy(model(x, where, **given)[train], y[train])

    assert_learns(model, loss, steps=STEPS)
