"""Drop-ins for PyTorch Geometric under tracers, derivatives, odd settings: as their originals.

What an original cannot do either is compared as well: the same kind of error, or a sentence.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch_geometric.nn as stock
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data, HeteroData

from edgewise import Blocks, EdgeList, Hubs, Window
from edgewise.errors import ArgumentError, DataError, EdgewiseError, GraphError
from edgewise.integrations import pyg
from edgewise.integrations.pyg import accelerate, originals, restore
from tests.faults.child_process import in_a_child
from tests.faults.kinds import Kind, each_case

Build = Callable[[Any], nn.Module]
N = 7
EDGES = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 1], [1, 2, 3, 4, 0, 2, 5, 5]])
BATCH = torch.tensor([0, 0, 0, 1, 1, 1, 1])

PLAIN: dict[str, Build] = {
    "GCN": lambda library: library.GCNConv(4, 3),
    "GCN, weights": lambda library: library.GCNConv(4, 3, improved=True),
    "SAGE": lambda library: library.SAGEConv(4, 3),
    "SAGE, sum": lambda library: library.SAGEConv(4, 6, aggr="sum"),
    "GIN": lambda library: library.GINConv(nn.Linear(4, 3), train_eps=True),
    "GMM": lambda library: library.GMMConv(4, 3, dim=2, kernel_size=2),
}
ATTENTION: dict[str, Build] = {
    "GAT": lambda library: library.GATConv(4, 3, heads=2),
    "GAT, edges": lambda library: library.GATConv(4, 3, heads=2, edge_dim=2),
    "GATv2": lambda library: library.GATv2Conv(4, 3, heads=2),
    "GATv2, edges": lambda library: library.GATv2Conv(4, 3, heads=2, edge_dim=2),
    "GATv2, no bias": lambda library: library.GATv2Conv(4, 3, bias=False, concat=False),
    "Transformer": lambda library: library.TransformerConv(4, 3, heads=2),
    "Transformer, edges": lambda library: library.TransformerConv(4, 3, heads=2, edge_dim=2),
}
GPS: dict[str, Build] = {
    "GPS": lambda library: library.GPSConv(4, None, heads=2),
    "GPS, GCN": lambda library: library.GPSConv(4, library.GCNConv(4, 4), heads=2),
}
CONVOLUTIONS = PLAIN | ATTENTION
ALL = CONVOLUTIONS | GPS
WITH_EDGES = ("edges", "GMM", "weights")


class Case:
    """A drop-in and its original with the same weights, and inputs for both.

    Attributes:
        name: Which layer.
        ours: The drop-in.
        theirs: The original.
    """

    def __init__(self, name: str, dtype: torch.dtype = torch.float64) -> None:
        torch.manual_seed(0)
        self.name = name
        self.ours = ALL[name](pyg).to(dtype).eval()
        self.theirs = ALL[name](stock).to(dtype).eval()
        self.theirs.load_state_dict(self.ours.state_dict())
        self.dtype = dtype

    def inputs(self, nodes: int = N, edges: Tensor = EDGES) -> tuple[Tensor, ...]:
        torch.manual_seed(1)
        x = torch.randn(nodes, 4, dtype=self.dtype)
        if self.name.startswith("GPS"):
            return x, edges, torch.cat([BATCH, torch.ones(nodes - N, dtype=torch.int64)])
        if not self.name.startswith("GMM") and not self.name.endswith(WITH_EDGES):
            return x, edges
        of_edges = torch.rand(edges.shape[1], 2, dtype=self.dtype)
        return x, edges, of_edges[:, 0] if self.name.endswith("weights") else of_edges

    def assert_same(self, compute: Callable[[nn.Module], Any], **tolerance: float) -> None:
        """What is computed of both is the same: numbers, or the kind of an error.

        The original computes with torch's plain attention, because its kernel for CPUs has neither
        second derivatives nor forward mode.
        """
        try:
            with sdpa_kernel(SDPBackend.MATH):
                expected = compute(self.theirs)
        except Exception as error:  # whatever the original makes of it
            with pytest.raises((type(error), EdgewiseError)):
                compute(self.ours)
        else:
            torch.testing.assert_close(compute(self.ours), expected, **tolerance)


# --- Tracers --------------------------------------------------------------------------------------


def check_jit_trace(name: str) -> None:
    case = Case(name)
    for count in (2, 3):  # GPS without and with a batch; others without and with edge features
        given = case.inputs()[:count]
        if count == 2 and (name.endswith(WITH_EDGES) or name == "GMM"):
            continue

        def trace(layer: nn.Module, given: tuple[Tensor, ...] = given, count: int = count) -> Any:
            traced: Any = torch.jit.trace(layer, given, check_trace=False)
            again = case.inputs(edges=EDGES.flip(0))[:count]
            larger = case.inputs(9)[:2] if count == 2 else again
            return traced(*given), traced(*again), traced(*larger)

        in_a_child(lambda trace=trace: case.assert_same(trace))


def check_jit_script(name: str) -> None:
    case = Case(name)
    case.assert_same(lambda layer: torch.jit.script(layer)(*case.inputs()))
    assert type(case.ours) is type(ALL[name](pyg))
    case.assert_same(lambda layer: layer(*case.inputs()))


def check_fx(name: str) -> None:
    case = Case(name)
    case.assert_same(lambda layer: torch.fx.symbolic_trace(layer)(*case.inputs()))


def check_make_fx(name: str) -> None:
    case = Case(name)

    def traced(layer: nn.Module) -> Any:
        function = make_fx(layer, tracing_mode="real")(*case.inputs())
        x, edges, *rest = case.inputs()
        return function(x, edges, *rest), function(x, edges.flip(0), *rest)

    case.assert_same(traced)


def check_compile(name: str) -> None:
    case = Case(name)
    torch.compiler.reset()
    whole = not name.startswith("GPS")  # the original's dense batch breaks the graph
    compiled: Any = torch.compile(case.ours, backend="eager", fullgraph=whole)
    for given in (case.inputs(), case.inputs(edges=EDGES.flip(0))):
        torch.testing.assert_close(compiled(*given), case.theirs(*given))


def check_export(name: str) -> None:
    case = Case(name)
    dynamic = torch.export.Dim.DYNAMIC
    given = case.inputs()
    shapes = ({0: dynamic}, {1: dynamic}, {0: dynamic})[: len(given)]

    def exported(layer: nn.Module) -> Any:
        program = torch.export.export(Positional(layer), given, dynamic_shapes=(shapes,))
        return program.module()(*case.inputs(9))

    case.assert_same(exported)


class Positional(nn.Module):
    """A layer whose arguments have no names, so that all layers are exported alike."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *given: Tensor) -> Tensor:
        return self.layer(*given)


# --- Tensors without numbers ----------------------------------------------------------------------


def check_fake(name: str) -> None:
    case = Case(name)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    given = [mode.from_tensor(part) for part in case.inputs()]
    for context in (mode, nullcontext()):  # inside of the mode, and fake tensors outside of it
        with context:
            case.assert_same(lambda layer: tuple(layer(*given).shape))
    case.assert_same(lambda layer: layer(*case.inputs()))  # nothing fake is remembered


def check_meta(name: str) -> None:
    case = Case(name)

    def shape(layer: nn.Module, *given: Tensor) -> tuple[int, ...]:
        out = copy.deepcopy(layer).to("meta")(*given)
        assert out.is_meta
        return tuple(out.shape)

    given = case.inputs()
    case.assert_same(lambda layer: shape(layer, *(part.to("meta") for part in given)))
    floats = [part.to("meta") if part.is_floating_point() else part for part in given]
    case.assert_same(lambda layer: shape(layer, *floats))
    case.assert_same(lambda layer: layer(*given))


# --- Transformations and derivatives --------------------------------------------------------------


def check_vmap(name: str) -> None:
    case = Case(name)
    x, edges, *rest = case.inputs()
    both = torch.stack([x, x + 1])
    ours = torch.func.vmap(lambda x: case.ours(x, edges, *rest))(both)
    theirs = torch.stack([case.theirs(x, edges, *rest) for x in both])
    torch.testing.assert_close(ours, theirs)


def check_vmap_over_edges(name: str) -> None:
    case = Case(name)
    x, edges, *rest = case.inputs()
    both = torch.stack([edges, edges.flip(0)])
    case.assert_same(lambda layer: torch.func.vmap(lambda edges: layer(x, edges, *rest))(both))


def of_nodes(case: Case, layer: nn.Module) -> Callable[[Tensor], Tensor]:
    _, *rest = case.inputs()
    return lambda x: layer(x, *rest).sin().sum()


def check_forward_mode(name: str) -> None:
    case = Case(name)
    x = case.inputs()[0]
    way = torch.ones_like(x)
    case.assert_same(lambda layer: torch.func.jvp(of_nodes(case, layer), (x,), (way,))[1])


def check_hessian(name: str) -> None:
    case = Case(name)
    x = case.inputs()[0]
    case.assert_same(lambda layer: torch.func.hessian(of_nodes(case, layer))(x))


def check_functional_gradient(name: str) -> None:
    case = Case(name)
    x = case.inputs()[0]
    case.assert_same(lambda layer: torch.func.grad(of_nodes(case, layer))(x))


def check_second_derivative(name: str) -> None:
    case = Case(name)

    def penalty(layer: nn.Module) -> Any:
        x, edges, *rest = case.inputs()
        x.requires_grad_()
        (slope,) = torch.autograd.grad(layer(x, edges, *rest).pow(2).sum(), x, create_graph=True)
        weights = [x, *layer.parameters()]
        return torch.autograd.grad(slope.pow(2).sum(), weights, materialize_grads=True)

    case.assert_same(penalty)


# --- Settings -------------------------------------------------------------------------------------


def check_autocast(name: str) -> None:
    case = Case(name, torch.float32)

    def lowered(layer: nn.Module) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return layer(*case.inputs())

    case.assert_same(lowered, rtol=0.05, atol=0.05)  # of one dtype, too


def check_autocast_weights(name: str) -> None:
    case = Case(name, torch.float32)

    def alpha(layer: nn.Module) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return layer(*case.inputs(), return_attention_weights=True)[1][1]

    case.assert_same(alpha, rtol=0.05, atol=0.05)


def check_all_dropped(name: str) -> None:
    case = Case(name)
    for layer in (case.ours, case.theirs):
        for module in layer.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        layer.dropout = 0.0 if name.startswith("GPS") else 1.0
        if name.startswith("GPS"):
            layer.attn.dropout = 1.0
        layer.train()
    case.assert_same(lambda layer: layer(*case.inputs()))


def check_hooks_on_all_modules(name: str) -> None:
    case = Case(name)

    def seen(layer: nn.Module) -> list[str]:
        found: list[str] = []
        handle = torch.nn.modules.module.register_module_forward_hook(
            lambda module, *_: found.append(getattr(module, "original", type(module)).__name__)
        )
        layer(*case.inputs())
        handle.remove()
        return [kind.replace("edgewise", "torch_geometric") for kind in found]

    assert seen(case.ours) == seen(case.theirs)


def check_not_finite(name: str) -> None:
    """A number that is not finite reaches the same nodes as in the original, at any size."""
    case = Case(name)
    for nodes in (1, 2, 3, 5, 8, 9, 16, 17, 33, 64, 80):
        edges = torch.randint(
            max(nodes - 1, 1), (2, 2 * nodes), generator=torch.Generator().manual_seed(nodes)
        )
        for value in (torch.nan, torch.inf, -torch.inf):
            for node in (0, nodes - 1):  # the last one has no edges
                x, _, *rest = case.inputs(max(nodes, N), edges)
                rest = [torch.arange(nodes) // 4] if name.startswith("GPS") else rest
                x = x[:nodes].clone()
                x[node] = value
                found, expected = (
                    layer(x, edges, *rest).isfinite().all(1) for layer in (case.ours, case.theirs)
                )
                assert torch.equal(found, expected), (nodes, value, node)


def check_copies(name: str) -> None:
    case = Case(name)
    expected = case.theirs(*case.inputs())
    for again in (copy.deepcopy(case.ours), pickle.loads(pickle.dumps(case.ours))):
        torch.testing.assert_close(again(*case.inputs()), expected)
        assert type(again) is type(case.ours)


def check_restored(name: str) -> None:
    case = Case(name)
    model = nn.ModuleDict({"layer": case.theirs})
    before = type(case.theirs)
    assert accelerate(model).swapped
    assert type(model["layer"]) is type(case.ours)
    assert restore(model)[0] == "layer"
    assert type(case.theirs) is before
    assert restore(model) == ()
    torch.testing.assert_close(case.theirs(*case.inputs()), case.ours(*case.inputs()))


def check_originals(name: str) -> None:
    case = Case(name)
    assert case.ours.why_original() is None
    with originals():
        assert case.ours.why_original() == "originals were asked for"
        found = case.ours(*case.inputs())
    assert case.ours.why_original() is None
    assert torch.equal(found, case.theirs(*case.inputs()))  # to the last bit


def names(cases: dict[str, Build]) -> dict[str, str]:
    return {name: name for name in cases}


KINDS = (
    Kind("jit.trace", check_jit_trace, names(GPS | CONVOLUTIONS)),
    Kind("jit.script", check_jit_script, names(ALL)),
    Kind("fx", check_fx, names(ALL)),
    Kind("make_fx", check_make_fx, names(CONVOLUTIONS)),
    Kind("fake tensors", check_fake, names(ALL)),
    Kind("meta", check_meta, names(ALL)),
    Kind("vmap", check_vmap, names(ALL)),
    Kind("vmap over edges", check_vmap_over_edges, names(CONVOLUTIONS)),
    Kind("forward mode", check_forward_mode, names(ALL)),
    Kind("hessian", check_hessian, names(ALL)),
    Kind("functional gradient", check_functional_gradient, names(ALL)),
    Kind("second derivative", check_second_derivative, names(ALL)),
    Kind("autocast", check_autocast, names(ALL)),
    Kind("weights under autocast", check_autocast_weights, names(ATTENTION)),
    Kind("dropout of 1", check_all_dropped, names(ATTENTION | GPS)),
    Kind("hooks on all modules", check_hooks_on_all_modules, names(ALL)),
    Kind("not finite", check_not_finite, names({n: b for n, b in ALL.items() if "," not in n})),
    Kind("copies", check_copies, names(ALL)),
    Kind("restore", check_restored, names(ALL)),
    Kind("originals", check_originals, names(ALL)),
)
SLOW = (
    Kind("compile", check_compile, names(ALL)),
    Kind("export", check_export, names(CONVOLUTIONS)),
)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@each_case(KINDS)
def test_no_fault(check, case):
    check(case)


@pytest.mark.slow
# The compiler looks at gradients of tensors between the parts that a model is compiled in.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@each_case(SLOW)
def test_no_fault_in_compiled_code(check, case):
    check(case)


# --- What a user is told --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", ["GAT", Data(x=torch.zeros(2, 1)), None], ids=["str", "Data", "None"]
)
@pytest.mark.parametrize("function", [accelerate, restore])
def test_only_modules_are_swapped(function, given):
    with pytest.raises(ArgumentError, match=r"model must be a torch\.nn\.Module, got \w+\. Pass"):
        function(given)


def test_attention_outside_of_messages_is_reported():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = stock.GPSConv(8, None, heads=2)
            self.former = stock.SGFormer(4, 8, 3)
            self.pool = stock.GraphMultisetTransformer(8, k=3)
            self.memory = stock.MemPooling(8, 8, heads=2, num_clusters=2)
            self.dense = nn.MultiheadAttention(8, 2)

    left = {name: (kind, why) for name, kind, why in accelerate(Mixed()).left}
    attends = "there is no drop-in for its attention"
    assert left["pool"] == ("GraphMultisetTransformer", attends)
    assert left["memory"] == ("MemPooling", attends)
    assert left["dense"] == ("MultiheadAttention", attends)
    assert any(kind == "SGFormerAttention" for kind, _ in left.values())
    assert not any(name.startswith(("pool.", "conv")) for name in left)


def test_a_scripted_subclass_says_what_to_derive_from():
    class Mine(pyg.GCNConv):
        pass

    with pytest.raises(ArgumentError, match=r"Derive it from torch_geometric\.nn\.GCNConv"):
        torch.jit.script(Mine(4, 3))


def test_scripting_a_model_leaves_its_numbers():
    model = nn.Sequential(pyg.GINConv(nn.Sequential(nn.Linear(4, 3))))
    layer = model[0]
    scripted = torch.jit.script(layer)
    x = torch.randn(N, 4)
    assert torch.equal(scripted(x, EDGES), restored(layer)(x, EDGES))


def restored(layer):
    layer = copy.deepcopy(layer)
    restore(layer)
    return layer


def test_originals_are_for_this_thread_alone():
    from concurrent.futures import ThreadPoolExecutor

    layer = pyg.GATConv(4, 3)
    with originals(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(layer.why_original).result() is None


def hetero() -> HeteroData:
    data = HeteroData(paper={"num_nodes": 2}, author={"num_nodes": 3})
    data["author", "writes", "paper"].edge_index = torch.tensor([[0, 2], [1, 1]])
    return data


def test_a_batch_of_several_kinds():
    batch = Batch.from_data_list([hetero(), hetero()])
    with pytest.raises(DataError, match=r"batch: it has several kinds .* Use from_hetero\(batch\)"):
        pyg.from_batch(batch)
    found = pyg.from_hetero(batch)["author", "writes", "paper"]
    assert (found.num_targets, found.num_sources, found.num_edges) == (4, 6, 4)


@pytest.mark.filterwarnings("ignore:Sparse ")
def test_transposed_adjacencies():
    data = Data(x=torch.zeros(4, 1), edge_index=torch.tensor([[0, 1, 3], [1, 2, 0]]))
    matrix = torch.sparse_coo_tensor(data.edge_index.flip(0), torch.ones(3), (4, 4)).coalesce()
    for adj_t in (matrix, matrix.to_sparse_csr()):
        found = pyg.from_data(Data(x=data.x, adj_t=adj_t))
        node = torch.arange(4)
        pairs = (node[:, None], node[None, :])
        assert torch.equal(found.contains(*pairs), pyg.from_data(data).contains(*pairs))
    with pytest.raises(DataError, match=r"adj_t must be a sparse matrix of torch, got list"):
        pyg.from_data(Data(x=data.x, adj_t=[1]))
    mixed = hetero()
    mixed["paper", "cites", "paper"].adj_t = matrix.to_dense()[:2, :2].to_sparse_csr()
    assert pyg.from_hetero(mixed)["paper", "cites", "paper"].num_targets == 2


def gps() -> Any:
    torch.manual_seed(0)
    return pyg.GPSConv(4, None, heads=2).double().eval()


def test_graphs_of_gps_in_all_forms():
    layer, x = gps(), torch.randn(N, 4).double()
    expected = layer(x, EDGES, graph=EdgeList(EDGES, N))
    for graph in (
        EDGES,
        EdgeIndex(EDGES, sparse_size=(N, N)),
        EdgeIndex(EDGES),
        Data(x=x, edge_index=EDGES),
    ):
        assert torch.equal(layer(x, EDGES, graph=graph), expected)
    with pytest.raises(GraphError, match="GPSConv: graph must be a graph, got str"):
        layer(x, EDGES, graph="all")
    with pytest.raises(DataError, match="several kinds of edges"):
        layer(x, EDGES, graph=hetero())


def test_a_dense_bias_of_gps():
    layer, x = gps(), torch.randn(N, 4).double()
    dense, graph = torch.randn(2, N, N).double(), EdgeList(EDGES, N)
    per_edge = dense[:, graph.target, graph.source]
    torch.testing.assert_close(
        layer(x, EDGES, graph=graph, bias=dense), layer(x, EDGES, graph=graph, bias=per_edge)
    )


@pytest.mark.parametrize(
    "graph",
    [Hubs(N, [0, 4]), Window(N, left=1, right=0), EdgeList([[6], [0]], N)],
    ids=["hubs", "window", "edges"],
)
@pytest.mark.parametrize("batch", [BATCH, torch.tensor([0, 1, 0, 1, 0, 1, 1])], ids=str)
def test_a_graph_that_mixes_the_graphs_of_a_batch(graph, batch):
    layer, x = gps(), torch.randn(N, 4).double()
    layer(x, EDGES, graph=graph)
    with pytest.raises(GraphError, match=r"lets node \d read node \d, which is in another graph"):
        layer(x, EDGES, batch, graph=graph)


def test_the_cure_of_a_graph_that_mixes():
    layer, x = gps(), torch.randn(N, 4).double()
    apart = Hubs(N, [0, 4]) & Blocks([3, 4])
    assert layer(x, EDGES, BATCH, graph=apart).shape == x.shape
    assert layer(x, EDGES, BATCH, graph=Blocks([3, 4])).shape == x.shape
    assert layer(x, EDGES, BATCH, graph=Blocks([3, 2, 2])).shape == x.shape
