"""Graph models: their symmetries, their edge cases, and what they refuse."""

from functools import partial

import pytest
import torch

from edgewise.errors import ArgumentError, GraphError, ShapeError
from edgewise.graphs import Blocks, Complete, EdgeList, SelfLoops, disjoint_union, permute
from edgewise.models import (
    GNN,
    GPS,
    Exphormer,
    GraphModel,
    Graphormer,
    GraphTransformer,
    NodeModel,
    exphormer_graph,
    load_weights,
    save_weights,
)
from edgewise.nn import degree_coordinates, laplacian_eigenvectors, random_signs, random_walk

IN, DIM, EDGE, WALK = 3, 8, 4, 5
SETTINGS = {"heads": 2, "layers": 2}

# Molecules: a path, an atom alone, a star with another atom alone, and two pieces.
TREES = [
    ([(0, 1), (1, 2), (2, 3)], 4),
    ([], 1),
    ([(0, 1), (0, 2), (0, 3)], 5),
    ([(0, 1), (2, 3), (3, 4), (4, 5), (2, 6)], 7),
]


def molecule(bonds, size):
    pairs = [pair for a, b in bonds for pair in ((a, b), (b, a))]
    return EdgeList(torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T, num_nodes=size)


MOLECULES = [molecule(*tree) for tree in TREES]
SIZES = [graph.num_targets for graph in MOLECULES]
BATCH = disjoint_union(MOLECULES)
READOUT = Blocks([1] * len(SIZES), SIZES)


class Case:
    """A model over nodes, and what it is given besides them."""

    def __init__(self, build, *wanted):
        self.build, self.wanted = build, wanted

    def given(self, graph, sizes, edge):
        makers = {
            "edge": lambda: {"edge": edge},
            "coordinates": lambda: {"edge": degree_coordinates(graph, dtype=torch.float64)},
            "encoding": lambda: {"encoding": random_walk(graph, WALK, dtype=torch.float64)},
            "blocks": lambda: {"everywhere": Blocks(sizes)},
            "expander": lambda: {"everywhere": exphormer_graph(graph, sizes=sizes, degree=2)},
        }
        result = {}
        for name in self.wanted:
            result |= makers[name]()
        return result


CASES = {
    "graph transformer": Case(
        partial(GraphTransformer, IN, DIM, encoding_dim=WALK, **SETTINGS), "encoding"
    ),
    "graph transformer, edges": Case(
        partial(GraphTransformer, IN, DIM, edge_dim=EDGE, norm="layer", **SETTINGS), "edge"
    ),
    "gps": Case(
        partial(GPS, IN, DIM, edge_dim=EDGE, encoding_dim=WALK, **SETTINGS),
        "edge",
        "encoding",
        "blocks",
    ),
    "gps, no edges": Case(partial(GPS, IN, DIM, norm="layer", **SETTINGS), "blocks"),
    "exphormer": Case(partial(Exphormer, IN, DIM, edge_dim=EDGE, **SETTINGS), "edge", "expander"),
    "gcn": Case(partial(GNN, IN, DIM, "gcn", layers=2, norm="batch")),
    "sage": Case(partial(GNN, IN, DIM, "sage", layers=2, residual=True)),
    "gin": Case(partial(GNN, IN, DIM, "gin", layers=2, norm="layer")),
    "gat": Case(partial(GNN, IN, DIM, "gat", layers=2, heads=2)),
    "gatv2": Case(partial(GNN, IN, DIM, "gatv2", layers=2, heads=2)),
    "transformer": Case(partial(GNN, IN, DIM, "transformer", layers=2, heads=2)),
    "monet": Case(partial(GNN, IN, DIM, "monet", layers=2, heads=3), "coordinates"),
}


@pytest.fixture(params=CASES)
def case(request):
    torch.manual_seed(0)
    return CASES[request.param]


def inputs(graph=BATCH, *batch):
    links = sum(part.num_edges for part in getattr(graph, "parts", (graph,)))
    x = torch.randn(*batch, graph.num_targets, IN, dtype=torch.float64)
    return x, torch.randn(links, EDGE, dtype=torch.float64)


def trained(model, away):
    """In float64, away from where it starts, and with a running mean in batch norms."""
    model = away(model.double()).eval()
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.add_(0.3 * torch.rand_like(buffer))
    return model


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


# --- Symmetries ----------------------------------------------------------------------------------


def test_a_batch_is_its_graphs(case, away):
    model = trained(GraphModel(case.build(), DIM, 2), away)
    x, edge = inputs()
    together = model(x, BATCH, readout=READOUT, **case.given(BATCH, SIZES, edge))
    links = [graph.num_edges for graph in MOLECULES]
    for number, (own, graph, own_edge) in enumerate(
        zip(x.split(SIZES), MOLECULES, edge.split(links), strict=True)
    ):
        alone = model(own, graph, **case.given(graph, [len(own)], own_edge))
        close(alone, together[number])


@pytest.mark.parametrize("training", [True, False])
def test_relabelling_nodes_relabels_what_is_found(case, away, training):
    model = trained(NodeModel(case.build(), DIM, 2), away).train(training)
    x, edge = inputs()
    order = torch.cat([at + torch.randperm(n) for at, n in zip((0, 4, 5, 10), SIZES, strict=True)])
    place = torch.argsort(order)  # who is now node i
    moved = EdgeList(order[BATCH.joined.edge_index], num_nodes=len(order))
    given = case.given(BATCH, SIZES, edge)
    other = case.given(moved, SIZES, edge)
    if "expander" in case.wanted:  # whose draw depends on names
        hubs = torch.arange(len(order), len(order) + len(SIZES))
        other["everywhere"] = permute(given["everywhere"], torch.cat([order, hubs]))
    before = model(x, BATCH, **given)
    close(model(x[place], moved, **other)[order], before)


def test_a_leading_dimension_is_a_batch(case, away):
    model = trained(GraphModel(case.build(), DIM, 2), away)
    x, edge = inputs(BATCH, 2, 3)
    given = case.given(BATCH, SIZES, edge)
    together = model(x, BATCH, readout=READOUT, **given)
    assert together.shape == (2, 3, len(SIZES), 2)
    close(together[1, 2], model(x[1, 2], BATCH, readout=READOUT, **given))
    turned = x.transpose(0, 2).contiguous().transpose(0, 2)  # the same numbers, other strides
    close(model(turned, BATCH, readout=READOUT, **given), together)


def test_every_parameter_learns(case):
    model = GraphModel(case.build(), DIM, 2).double()
    x, edge = inputs()
    out = model(x, BATCH, readout=READOUT, **case.given(BATCH, SIZES, edge))
    out.square().sum().backward()
    blind = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # What the last block says about edges is heard by no node.
    assert all(".edges." in name or "edge_out_proj" in name for name in blind)


# --- Edge cases ----------------------------------------------------------------------------------


def test_atoms_alone_and_graphs_without_edges(case, away):
    model = trained(NodeModel(case.build(), DIM, 2), away)
    nothing = EdgeList(torch.empty(2, 0, dtype=torch.int64), num_nodes=3)
    x, edge = inputs(nothing)
    x.requires_grad_()
    out = model(x, nothing, **case.given(nothing, [1, 1, 1], edge))
    assert torch.isfinite(out).all()
    (result,) = torch.autograd.grad(out[1].sum(), x)
    assert not result[[0, 2]].any()  # a node alone is seen by no other
    assert torch.isfinite(result).all()


def test_no_nodes_at_all(case, away):
    model = trained(NodeModel(case.build(), DIM, 2), away)
    nothing = EdgeList(torch.empty(2, 0, dtype=torch.int64), num_nodes=0)
    x, edge = inputs(nothing)
    assert model(x, nothing, **case.given(nothing, [0], edge)).shape == (0, 2)


def test_compiled_it_is_the_same(case, away):
    torch.compiler.reset()
    model = trained(GraphModel(case.build(), DIM, 2), away)
    x, edge = inputs()
    given = {"readout": READOUT, **case.given(BATCH, SIZES, edge)}
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    close(compiled(x, BATCH, **given), model(x, BATCH, **given))


def test_weights_there_and_back(case, away, tmp_path):
    model = trained(GraphModel(case.build(), DIM, 2), away)
    save_weights(model, tmp_path / "weights.safetensors")
    other = GraphModel(case.build(), DIM, 2).double().eval()
    load_weights(other, tmp_path / "weights.safetensors")
    x, edge = inputs()
    given = {"readout": READOUT, **case.given(BATCH, SIZES, edge)}
    assert torch.equal(model(x, BATCH, **given), other(x, BATCH, **given))


def test_dropout_acts_in_training_alone():
    trunks = [
        GraphTransformer(IN, DIM, dropout=0.5, norm="layer", **SETTINGS),
        GraphTransformer(IN, DIM, dropout=0.5, norm="layer", edge_dim=EDGE, **SETTINGS),
        GraphTransformer(IN, DIM, attention_dropout=0.5, norm="layer", edge_dim=EDGE, **SETTINGS),
        GNN(IN, DIM, "gcn", layers=2, dropout=0.5),
        GPS(IN, DIM, dropout=0.5, norm="layer", edge_dim=EDGE, **SETTINGS),
        Exphormer(IN, DIM, attention_dropout=0.5, norm="layer", edge_dim=EDGE, **SETTINGS),
    ]
    x, edge = inputs()
    for trunk in trunks:
        trunk.double()
        given = {}
        if hasattr(trunk, "edge_embedding") and trunk.edge_embedding.edge_dim is not None:
            given["edge"] = edge
        if isinstance(trunk, GPS):
            given["everywhere"] = Blocks(SIZES)
        if isinstance(trunk, Exphormer):
            given["everywhere"] = exphormer_graph(BATCH, sizes=SIZES)
        assert not torch.equal(trunk(x, BATCH, **given), trunk(x, BATCH, **given))
        trunk.eval()
        assert torch.equal(trunk(x, BATCH, **given), trunk(x, BATCH, **given))


# --- Encodings -----------------------------------------------------------------------------------


def test_signs_are_turned_as_documented():
    graph = disjoint_union(MOLECULES)
    p = laplacian_eigenvectors(graph, k=2)
    model = NodeModel(GraphTransformer(IN, DIM, encoding_dim=2, **SETTINGS), DIM, 1)
    x = torch.randn(graph.num_targets, IN)
    drawn = [model(x, graph, encoding=random_signs(p, graph)) for _ in range(6)]
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:])


def test_over_complete_graphs_a_graph_transformer_is_a_post_norm_encoder():
    trunk = GraphTransformer(IN, DIM, norm="layer", **SETTINGS).double()
    x = torch.randn(5, IN, dtype=torch.float64)
    shuffled = torch.randperm(5)
    close(trunk(x, Complete(5))[shuffled], trunk(x[shuffled], Complete(5)))
    assert not torch.allclose(trunk(x, Complete(5)), trunk(x, SelfLoops(5)))


# --- Predictors --------------------------------------------------------------------------------


def test_heads_and_whatever_a_trunk_takes():
    class Trunk(torch.nn.Module):
        def forward(self, x, graph, **given):
            self.given = given
            return x

    trunk, head = Trunk(), torch.nn.Linear(IN, 7, bias=False)
    x = torch.randn(BATCH.num_targets, IN)
    model = NodeModel(trunk, IN, 7, head=head)
    assert torch.equal(model(x, BATCH, encoding=None, edge=3), head(x))
    assert trunk.given == {"edge": 3}  # what is None is left out
    model = GraphModel(trunk, IN, 7, head=head)
    means = torch.stack([part.mean(0) for part in x.split(SIZES)])
    torch.testing.assert_close(model(x, BATCH, readout=READOUT), head(means))
    assert trunk.given == {}


# --- Refusals ------------------------------------------------------------------------------------

PATH = MOLECULES[0]
REFUSED = {
    "edge is missing": (
        lambda: GraphTransformer(IN, DIM, edge_dim=EDGE, **SETTINGS)(torch.zeros(4, IN), PATH),
        ArgumentError,
        "GraphTransformer: edge is missing, but the layer was built with edge_dim=4",
    ),
    "edge is ignored": (
        lambda: GPS(IN, DIM, **SETTINGS)(
            torch.zeros(4, IN), PATH, everywhere=Complete(4), edge=torch.zeros(6, 2)
        ),
        ArgumentError,
        "GPS: edge was given, but the layer was built without edge_dim",
    ),
    "edges of another width": (
        lambda: GPS(IN, DIM, edge_dim=EDGE, **SETTINGS)(
            torch.zeros(4, IN), PATH, everywhere=Complete(4), edge=torch.zeros(6, 2)
        ),
        ShapeError,
        "GPS: edge has 2 features but the layer was built with edge_dim=4",
    ),
    "too few edges": (
        lambda: GraphTransformer(IN, DIM, edge_dim=EDGE, **SETTINGS)(
            torch.zeros(4, IN), PATH, edge=torch.zeros(5, EDGE)
        ),
        ShapeError,
        r"GraphTransformer: edge must have shape .* got \[5, 8\]",
    ),
    "encoding is missing": (
        lambda: GPS(IN, DIM, encoding_dim=2, **SETTINGS)(
            torch.zeros(4, IN), PATH, everywhere=Complete(4)
        ),
        ArgumentError,
        "GPS: encoding is missing. Build it with encoding_dim",
    ),
    "encoding is ignored": (
        lambda: GraphTransformer(IN, DIM, **SETTINGS)(
            torch.zeros(4, IN), PATH, encoding=torch.zeros(4, 2)
        ),
        ArgumentError,
        "GraphTransformer: encoding was given, which it would ignore",
    ),
    "encoding of another width": (
        lambda: GraphTransformer(IN, DIM, encoding_dim=3, **SETTINGS)(
            torch.zeros(4, IN), PATH, encoding=torch.zeros(4, 2)
        ),
        ShapeError,
        "GraphTransformer: encoding has 2 features but the layer was built with encoding_dim=3",
    ),
    "features of another width": (
        lambda: GNN(IN, DIM, "gcn", layers=1)(torch.zeros(4, 2), PATH),
        ShapeError,
        "GNN: x has 2 features but the layer was built with in_dim=3",
    ),
    "other nodes": (
        lambda: Exphormer(IN, DIM, **SETTINGS)(
            torch.zeros(3, IN), PATH, everywhere=exphormer_graph(PATH)
        ),
        ShapeError,
        "Exphormer: x has 3 nodes but graph has 4 targets",
    ),
    "everywhere without hubs": (
        lambda: Exphormer(IN, DIM, hubs=2, **SETTINGS)(
            torch.zeros(4, IN), PATH, everywhere=exphormer_graph(PATH, hubs=1)
        ),
        ShapeError,
        "Exphormer: everywhere must have the 4 nodes of graph and 2 hubs for every graph behind "
        r"them, got 5 nodes. Build it with exphormer_graph\(graph, hubs=2\)",
    ),
    "hubs that are not there": (
        lambda: Exphormer(IN, DIM, hubs=0, **SETTINGS)(
            torch.zeros(4, IN), PATH, everywhere=exphormer_graph(PATH, hubs=1)
        ),
        ShapeError,
        "Exphormer: everywhere must have the 4 nodes of graph and 0 hubs",
    ),
    "unknown convolution": (
        lambda: GNN(IN, DIM, "gnc", layers=1),
        ArgumentError,
        "GNN: convolution must be one of 'gcn', 'sage', 'gin', 'monet', 'gat', 'gatv2', "
        "'transformer', got 'gnc'",
    ),
    "heads": (
        lambda: GNN(IN, DIM, "gat", layers=1, heads=3),
        ArgumentError,
        "GNN: dim=8 cannot be divided among heads=3. Choose a multiple of heads",
    ),
    "no layers": (
        lambda: GNN(IN, DIM, "gat", layers=0),
        ArgumentError,
        "GNN: layers must be at least 1, got 0",
    ),
    "unknown norm": (
        lambda: GraphTransformer(IN, DIM, norm="group", **SETTINGS),
        ArgumentError,
        "norm must be one of 'layer', 'rms', 'batch', None, got 'group'",
    ),
    "an edge between graphs": (
        lambda: Graphormer(IN, DIM, 1, **SETTINGS)(
            torch.zeros(4, IN), PATH, readout=Blocks([1, 1], [2, 2])
        ),
        ShapeError,
        "Graphormer: an edge leads from one graph of readout to another",
    ),
    "readout over other nodes": (
        lambda: Graphormer(IN, DIM, 1, **SETTINGS)(
            torch.zeros(4, IN), PATH, readout=Blocks([1], [5])
        ),
        ShapeError,
        "Graphormer: readout has 5 sources but graph has 4 nodes",
    ),
    "readout that is none": (
        lambda: Graphormer(IN, DIM, 1, **SETTINGS)(torch.zeros(4, IN), PATH, readout=Complete(4)),
        ShapeError,
        r"Graphormer: readout must have one target for each graph, .* got Complete\(4\)",
    ),
    "edges that Graphormer would ignore": (
        lambda: Graphormer(IN, DIM, 1, **SETTINGS)(
            torch.zeros(4, IN), PATH, edge=torch.zeros(6, 2)
        ),
        ArgumentError,
        "Graphormer: edge was given, but the layer was built without edge_dim",
    ),
    "a graph between two sets": (
        lambda: Graphormer(IN, DIM, 1, **SETTINGS)(torch.zeros(4, IN), Complete(4, 3)),
        GraphError,
        "the graph must be square, got 4 targets and 3 sources",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    act, error, sentence = REFUSED[name]
    with pytest.raises(error, match=sentence) as caught:
        act()
    assert "\n" not in str(caught.value)
