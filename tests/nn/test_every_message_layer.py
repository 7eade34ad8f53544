"""What every message-passing layer takes: batches, any strides, copies of edges, no edges."""

import pytest
import torch

from edgewise.graphs import Complete, EdgeList
from edgewise.nn import (
    MLP,
    DotAttention,
    GATAttention,
    GATv2Attention,
    GCNConvolution,
    GINConvolution,
    GINEConvolution,
    GPSBlock,
    GraphConvolution,
    GraphNetwork,
    MoNetConvolution,
    TransformerConvolution,
)


class GPS(GPSBlock):
    def forward(self, x, graph, *, edge):
        return super().forward(x, graph, everywhere=Complete(graph.num_targets), edge=edge)


class Network(GraphNetwork):
    def forward(self, x, graph, *, edge):
        out = super().forward(x, graph, edge=edge)
        return torch.cat([out.x, out.u.expand(*out.x.shape[:-1], -1)], -1)


LAYERS = {  # with the number of edge features, or 0 for weights of edges
    "sum": (lambda: GraphConvolution(6, 4), 0),
    "pool": (lambda: GraphConvolution(6, 4, reduce="max", message="pool", normalize=True), 0),
    "gcn": (lambda: GCNConvolution(6, 4), 0),
    "gin": (lambda: GINConvolution(MLP(6, 8, out_dim=4), train_eps=True), 0),
    "gine": (lambda: GINEConvolution(MLP(6, 8, out_dim=4), 6, 2), 2),
    "monet": (lambda: MoNetConvolution(6, 4, kernels=3, coordinates=2), 2),
    "monet, separate": (
        lambda: MoNetConvolution(6, 4, kernels=3, coordinates=2, separate=True),
        2,
    ),
    "gat": (lambda: GATAttention(6, 4, 2, edge_dim=2), 2),
    "gatv2": (lambda: GATv2Attention(6, 4, 2, edge_dim=2), 2),
    "transformer": (lambda: TransformerConvolution(6, 4, 2, edge_dim=2, beta=True), 2),
    "gps": (
        lambda: GPS(GATAttention(6, 3, 2, edge_dim=2), DotAttention(6, heads=2), 6, norm="layer"),
        2,
    ),
    "network": (lambda: Network(MLP(14, 8, out_dim=4), MLP(10, 5), MLP(14, 8, out_dim=3)), 2),
}
GRAPH = EdgeList([[0, 0, 1, 2, 2, 3, 3], [1, 1, 1, 0, 1, 3, 0]], num_nodes=5)


@pytest.fixture(params=LAYERS)
def case(request):
    """A layer in float64, and edge tensors that fit it."""
    torch.manual_seed(0)
    build, edge_dim = LAYERS[request.param]

    def edge(*shape):
        return torch.rand(*shape, *((edge_dim,) if edge_dim else ()), dtype=torch.float64)

    return build().double(), edge


def nodes(*shape):
    return torch.randn(*shape, 6, dtype=torch.float64)


def test_a_batch_is_its_items_one_by_one(case, close):
    layer, edge = case
    x, own, shared = nodes(2, 3, 5), edge(2, 3, 7), edge(7)
    own_rows, shared_rows = [], []
    for i in range(2):
        for j in range(3):
            own_rows.append(layer(x[i, j], GRAPH, edge=own[i, j]))
            shared_rows.append(layer(x[i, j], GRAPH, edge=shared))
    close(layer(x, GRAPH, edge=own).flatten(0, 1), torch.stack(own_rows))
    close(layer(x, GRAPH, edge=shared).flatten(0, 1), torch.stack(shared_rows))


def test_strides_do_not_matter(case, close):
    layer, edge = case
    x, e = nodes(2, 5), edge(2, 7)
    strided = torch.cat([x, x], -1)[..., :6].transpose(0, 1).contiguous().transpose(0, 1)
    held = torch.stack([e, e], -1)[..., 0]
    assert not strided.is_contiguous()
    assert not held.is_contiguous()
    leaves = [t.detach().requires_grad_() for t in (x, e)]
    others = [t.detach().requires_grad_() for t in (strided, held)]
    close(layer(leaves[0], GRAPH, edge=leaves[1]), layer(others[0], GRAPH, edge=others[1]))
    push = torch.randn_like(layer(x, GRAPH, edge=e))
    gradients = [
        torch.autograd.grad(layer(a, GRAPH, edge=b), [a, b], push) for a, b in (leaves, others)
    ]
    for mine, other in zip(*gradients, strict=True):
        close(mine, other)


def test_the_order_of_edges_does_not_matter_but_their_number_does(case, close):
    layer, edge = case
    x, e = nodes(5), edge(7)
    order = torch.randperm(7)
    close(
        layer(x, EdgeList(GRAPH.edge_index[:, order], num_nodes=5), edge=e[order]),
        layer(x, GRAPH, edge=e),
    )
    once = EdgeList(GRAPH.edge_index[:, 2:], num_nodes=5)  # 0 -> 1 twice, or not at all
    assert not torch.allclose(layer(x, once, edge=e[2:]), layer(x, GRAPH, edge=e))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_nodes_without_edges(case, count):
    layer, edge = case
    x, e = nodes(count).requires_grad_(), edge(0).requires_grad_()
    out = layer(x, EdgeList([[], []], num_nodes=count), edge=e)
    assert out.shape[0] == count
    gradients = torch.autograd.grad(out.sum(), [x, e, *layer.parameters()], allow_unused=True)
    assert out.isfinite().all()
    assert all(g is None or g.isfinite().all() for g in gradients)
    if count == 3:  # nobody hears anybody: alike nodes stay alike
        same = layer(x[:1].expand(3, -1), EdgeList([[], []], num_nodes=3), edge=e)
        assert torch.allclose(same[0], same[2])


def test_a_node_that_hears_itself(case):
    layer, edge = case
    out = layer(nodes(1), EdgeList([[0, 0], [0, 0]], num_nodes=1), edge=edge(2))
    assert out.isfinite().all()


# Attention has them with backend="gather" alone.
@pytest.mark.parametrize(
    "case", sorted(LAYERS.keys() - {"gat", "gatv2", "transformer", "gps"}), indirect=True
)
def test_second_derivatives_through_messages(case):
    layer, edge = case
    x, e = nodes(5).requires_grad_(), edge(7).requires_grad_()

    def gradient(x, e):
        out = layer(x, GRAPH, edge=e).sin().sum()
        return torch.autograd.grad(out, [x, e], create_graph=True)

    assert torch.autograd.gradcheck(gradient, (x, e))
