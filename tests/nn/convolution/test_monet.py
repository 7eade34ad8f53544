"""MoNetConvolution is its formula, edge by edge; degrees as pseudo-coordinates."""

import pytest
import torch

from edgewise.errors import ArgumentError, ShapeError
from edgewise.graphs import Causal, EdgeList, SelfLoops, permute
from edgewise.layouts import edges
from edgewise.nn import MoNetConvolution, degree_coordinates

MULTIGRAPH = EdgeList([[0, 0, 1, 2, 2, 3, 3], [1, 1, 1, 0, 1, 3, 0]], num_nodes=5)
BIPARTITE = EdgeList([[0, 4, 2, 2], [1, 1, 0, 0]], num_targets=3, num_sources=5)
WIDTHS = [(4, 6), (6, 4)]  # narrower before and after: the layer works in another order


def written_out(layer, graph, x, source, edge):
    """The equation, one edge and one kernel at a time."""
    K, P = layer.kernels, layer.coordinates
    matrix = layer.kernel_proj.weight.reshape(K, layer.out_dim, layer.in_dim)
    mu = layer.mu.expand(layer.in_dim, layer.out_dim, K, P)
    sigma = layer.sigma.expand(layer.in_dim, layer.out_dim, K, P)
    rows = []
    for target in range(graph.num_targets):
        here = (graph.target == target).nonzero()[:, 0].tolist()
        total = x.new_zeros(layer.out_dim)
        for e in here:
            for k in range(K):
                offset = (edge[e] - mu[:, :, k]) / sigma[:, :, k]
                weight = torch.exp(-0.5 * offset.square().sum(-1))  # [in_dim, out_dim]
                total = total + source[graph.source[e]] @ (weight * matrix[k].T)
        rows.append(total / max(len(here), 1) if layer.reduce == "mean" else total)
    out = torch.stack(rows)
    out = out if layer.root_proj is None else out + layer.root_proj(x)
    return out if layer.bias is None else out + layer.bias


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("graph", [MULTIGRAPH, BIPARTITE], ids=["square", "bipartite"])
@pytest.mark.parametrize(("in_dim", "out_dim"), WIDTHS)
@pytest.mark.parametrize("reduce", ["mean", "sum"])
@pytest.mark.parametrize("separate", [False, True])
def test_it_is_its_formula(graph, dtype, same_layer, in_dim, out_dim, reduce, separate):
    plain = reduce == "sum"  # half of the cases go without root and bias
    layer = MoNetConvolution(
        in_dim,
        out_dim,
        kernels=3,
        coordinates=2,
        reduce=reduce,
        root=not plain,
        bias=not plain,
        separate=separate,
    ).to(dtype)
    torch.nn.init.uniform_(layer.sigma, 0.5, 1.5)
    x = torch.randn(graph.num_targets, in_dim, dtype=dtype, requires_grad=True)
    square = graph.num_targets == graph.num_sources
    source = x if square else torch.randn(graph.num_sources, in_dim, dtype=dtype).requires_grad_()
    edge = torch.rand(graph.num_edges, 2, dtype=dtype, requires_grad=True)
    expected = written_out(layer, graph, x, source, edge)
    out = layer(x, graph, edge=edge, **({} if square else {"source": source}))
    inputs = [t for t in {x, source, edge} if t is not x or square or not plain]  # no root, no x
    same_layer(out, expected, inputs, [(p, p) for p in layer.parameters()])


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(("in_dim", "out_dim"), WIDTHS)
def test_coordinates_may_be_shared_by_a_batch_or_not(close, separate, in_dim, out_dim):
    layer = MoNetConvolution(in_dim, out_dim, kernels=3, coordinates=2, separate=separate).double()
    x = torch.randn(2, 3, 5, in_dim, dtype=torch.float64)
    edge = torch.rand(2, 3, 7, 2, dtype=torch.float64)
    for given in (edge, edge[:, :1], edge[0, 0]):
        per_graph = given.expand(2, 3, 7, 2).flatten(0, 1)
        one_by_one = [
            layer(a, MULTIGRAPH, edge=b) for a, b in zip(x.flatten(0, 1), per_graph, strict=True)
        ]
        close(layer(x, MULTIGRAPH, edge=given).flatten(0, 1), torch.stack(one_by_one))


def test_a_narrow_kernel_reads_one_offset():
    """An image convolution: kernels at offsets -1 and 1 read the left and the right neighbor."""
    layer = MoNetConvolution(1, 1, kernels=2, coordinates=1, reduce="sum", root=False, bias=False)
    with torch.no_grad():
        layer.mu.copy_(torch.tensor([[-1.0], [1.0]]))
        layer.sigma.fill_(0.05)
        layer.kernel_proj.weight.copy_(torch.tensor([[10.0], [100.0]]))
    path = EdgeList([[0, 1, 1, 2], [1, 0, 2, 1]], num_nodes=3)
    offset = (path.source - path.target)[:, None].float()
    out = layer(torch.tensor([[1.0], [2.0], [3.0]]), path, edge=offset)
    torch.testing.assert_close(out, torch.tensor([[200.0], [310.0], [20.0]]))


def test_degrees_become_coordinates():
    assert degree_coordinates(MULTIGRAPH).dtype == torch.float32
    result = degree_coordinates(MULTIGRAPH, dtype=torch.float64)
    into = [2, 4, 0, 1, 0]  # copies counted
    out_of = [2, 1, 2, 2, 0]
    for (a, b), source, target in zip(
        result.tolist(), MULTIGRAPH.source.tolist(), MULTIGRAPH.target.tolist(), strict=True
    ):
        assert a == pytest.approx(into[target] ** -0.5)
        assert b == pytest.approx(out_of[source] ** -0.5)
    assert degree_coordinates(BIPARTITE)[2].tolist() == pytest.approx([2**-0.5, 2**-0.5])


def test_coordinates_follow_the_edges():
    order = torch.tensor([3, 1, 4, 0, 2])
    renamed = degree_coordinates(permute(MULTIGRAPH, order))
    assert torch.equal(renamed, degree_coordinates(MULTIGRAPH))
    causal = degree_coordinates(Causal(4))
    assert causal.shape == (10, 2)
    assert causal[0].tolist() == [1.0, 0.5]  # one reads node 0 .. and four read it
    assert degree_coordinates(EdgeList([[], []], num_nodes=3)).shape == (0, 2)
    assert edges(Causal(4)).source[0] == 0


def test_what_does_not_fit_is_refused():
    graph, x, edge = SelfLoops(3), torch.zeros(3, 4), torch.zeros(3, 2)
    with pytest.raises(ArgumentError, match="reduce must be one of 'sum', 'mean', got 'max'"):
        MoNetConvolution(4, 4, kernels=2, coordinates=2, reduce="max")
    for name in ("kernels", "coordinates"):
        with pytest.raises(ArgumentError, match=f"MoNetConvolution: {name} must be at least 1"):
            MoNetConvolution(4, 4, **{"kernels": 2, "coordinates": 2, name: 0})
    layer = MoNetConvolution(4, 4, kernels=2, coordinates=2)
    with pytest.raises(ArgumentError, match=r"shape \[edges, 2\], such as degree_coordinates"):
        layer(x, graph)
    with pytest.raises(ShapeError, match=r"edge has 1 features .* coordinates=2"):
        layer(x, graph, edge=edge[:, :1])
    with pytest.raises(ShapeError, match="MoNetConvolution: edge must have shape"):
        layer(x, graph, edge=edge[:2])
    with pytest.raises(ShapeError, match="MoNetConvolution: x has 5 features"):
        layer(torch.zeros(3, 5), graph, edge=edge)
    with pytest.raises(ShapeError, match="MoNetConvolution: source has 5 features"):
        layer(x, graph, source=torch.zeros(3, 5), edge=edge)
    with pytest.raises(ShapeError, match="MoNetConvolution: x has 2 nodes but graph has 3"):
        layer(x[:2], graph, edge=edge)
    assert "4, 4, kernels=2, coordinates=2, reduce='mean', separate=False" in repr(layer)
