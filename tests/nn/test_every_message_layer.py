"""What every message-passing layer takes: batches, any strides, copies of edges, no edges."""

import pytest
import torch

from edgewise.graphs import EdgeList
from edgewise.testing import MESSAGE_LAYERS, LayerSizes
from edgewise.testing.layers import Called

GRAPH = EdgeList([[0, 0, 1, 2, 2, 3, 3], [1, 1, 1, 0, 1, 3, 0]], num_nodes=5)


class OfEdges(Called):
    """A layer that takes its edge tensor, weights or features, as ``edge``."""

    def __init__(self, name, sizes):
        kind = MESSAGE_LAYERS[name]
        super().__init__(kind.build(sizes, dtype=torch.float64), kind.call)
        self.word, self.shape = kind.edges, kind.edge_shape(sizes)

    def forward(self, x, graph, *, edge):
        return super().forward(x, graph, **{self.word: edge})


@pytest.fixture(params=MESSAGE_LAYERS)
def case(request):
    """A layer in float64, and edge tensors that fit it."""
    torch.manual_seed(0)
    keeps = MESSAGE_LAYERS[request.param].keeps_dim
    layer = OfEdges(request.param, LayerSizes(in_dim=6, out_dim=6 if keeps else 4))

    def edge(*shape):
        return torch.rand(*shape, *layer.shape, dtype=torch.float64)

    return layer, edge


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
    grad_out = torch.randn_like(layer(x, GRAPH, edge=e))
    gradients = [
        torch.autograd.grad(layer(a, GRAPH, edge=b), [a, b], grad_out) for a, b in (leaves, others)
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


def test_a_node_that_reads_itself(case):
    layer, edge = case
    out = layer(nodes(1), EdgeList([[0, 0], [0, 0]], num_nodes=1), edge=edge(2))
    assert out.isfinite().all()


def test_second_derivatives_through_messages(case):
    layer, edge = case
    x, e = nodes(5).requires_grad_(), edge(7).requires_grad_()

    def gradient(x, e):
        out = layer(x, GRAPH, edge=e).sin().sum()
        return torch.autograd.grad(out, [x, e], create_graph=True)

    assert torch.autograd.gradcheck(gradient, (x, e))
