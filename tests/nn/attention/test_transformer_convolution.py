"""TransformerConvolution is its formula, row by row."""

import pytest
import torch

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import EdgeList, SelfLoops
from edgewise.nn import TransformerConvolution

MULTIGRAPH = EdgeList([[0, 0, 1, 2, 2, 3, 3], [1, 1, 1, 0, 1, 3, 0]], num_nodes=5)
BIPARTITE = EdgeList([[0, 4, 2, 2], [1, 1, 0, 0]], num_targets=3, num_sources=5)


def written_out(layer, graph, x, source, edge):
    H, D = layer.heads, layer.out_dim
    query = layer.q_proj(x).reshape(-1, H, D)
    key, value = (p(source).reshape(-1, H, D) for p in (layer.k_proj, layer.v_proj))
    added = x.new_zeros(graph.num_edges, H, D)
    if edge is not None:
        added = layer.edge_proj(edge).reshape(-1, H, D)
    rows = []
    for target in range(graph.num_targets):
        here = (graph.target == target).nonzero()[:, 0]
        if not len(here):
            rows.append(x.new_zeros(H, D))
            continue
        reads = graph.source[here]
        scores = (query[target] * (key[reads] + added[here])).sum(-1) / D**0.5  # [edges, H]
        weight = scores.softmax(0)[..., None]
        rows.append((weight * (value[reads] + added[here])).sum(0))
    message = torch.stack(rows)
    message = message.flatten(1) if layer.concat else message.mean(1)
    if layer.root_proj is None:
        return message
    own = layer.root_proj(x)
    if layer.beta_proj is None:
        return message + own
    gate = torch.sigmoid(layer.beta_proj(torch.cat([message, own, message - own], -1)))
    return gate * own + (1 - gate) * message


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("graph", [MULTIGRAPH, BIPARTITE], ids=["square", "bipartite"])
@pytest.mark.parametrize("concat", [True, False])
@pytest.mark.parametrize(("root", "beta"), [(True, False), (True, True), (False, False)])
@pytest.mark.parametrize("edge_dim", [None, 3])
def test_it_is_its_formula(graph, dtype, same_layer, concat, root, beta, edge_dim):
    source_dim = None if graph.num_targets == graph.num_sources else 7
    layer = TransformerConvolution(
        6, 4, 2, concat=concat, root=root, beta=beta, edge_dim=edge_dim, source_dim=source_dim
    ).to(dtype)
    x = torch.randn(graph.num_targets, 6, dtype=dtype, requires_grad=True)
    source = x if source_dim is None else torch.randn(5, 7, dtype=dtype, requires_grad=True)
    edge = None
    if edge_dim is not None:
        edge = torch.randn(graph.num_edges, edge_dim, dtype=dtype, requires_grad=True)
    given = {} if source is x else {"source": source}
    inputs = [t for t in {x, source, edge} if t is not None]
    same_layer(
        layer(x, graph, edge=edge, **given),
        written_out(layer, graph, x, source, edge),
        inputs,
        [(p, p) for p in layer.parameters()],
    )


@pytest.mark.usefixtures("seeded")
def test_dropout_acts_in_training_only():
    layer, x = TransformerConvolution(6, 4, 2, dropout=0.5), torch.randn(5, 6)
    assert not torch.equal(layer(x, MULTIGRAPH), layer(x, MULTIGRAPH))
    layer.eval()
    assert torch.equal(layer(x, MULTIGRAPH), layer(x, MULTIGRAPH))


def test_weights_are_redrawn():
    layer = TransformerConvolution(6, 4, 2, edge_dim=3, beta=True)
    before = {name: p.clone() for name, p in layer.named_parameters()}
    layer.reset_parameters()
    assert not any(torch.equal(before[name], p) for name, p in layer.named_parameters())


def test_what_does_not_fit_is_refused():
    graph, x = SelfLoops(3), torch.zeros(3, 4)
    with pytest.raises(ArgumentError, match=r"which root=False leaves out\. Pass root=True"):
        TransformerConvolution(4, 4, 2, beta=True, root=False)
    with pytest.raises(ArgumentError, match="TransformerConvolution: heads must be at least 1"):
        TransformerConvolution(4, 4, 0)
    with pytest.raises(ArgumentError, match="TransformerConvolution: dropout must be at least 0"):
        TransformerConvolution(4, 4, 2, dropout=1.0)
    layer = TransformerConvolution(4, 4, 2, source_dim=5)
    with pytest.raises(ShapeError, match=r"TransformerConvolution: source has 4 .* source_dim=5"):
        layer(x, graph)
    with pytest.raises(ShapeError, match=r"TransformerConvolution: x has 5 features .* in_dim=4"):
        layer(torch.zeros(3, 5), graph)
    with pytest.raises(ArgumentError, match="TransformerConvolution: edge was given"):
        layer(x, graph, source=torch.zeros(3, 5), edge=torch.zeros(3, 2))
    with pytest.raises(ArgumentError, match="TransformerConvolution: edge is missing"):
        TransformerConvolution(4, 4, 2, edge_dim=2)(x, graph)
    assert "4, 4, heads=2, concat=True, edge_dim=None, dropout=0.0" in repr(layer)
