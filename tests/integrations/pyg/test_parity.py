"""Drop-ins against PyTorch Geometric: outputs and all gradients of many seeded configurations.

Graphs are multigraphs with copies of edges, self-loops and isolated nodes, square and bipartite.
A configuration is drawn from the product of what can be set; each runs in both precisions.
"""

import itertools
import random

import pytest
import torch
import torch_geometric.nn as originals
from torch import nn

from edgewise.integrations import pyg
from tests.pairwise import first_of

NODES, SOURCES, EDGES, IN, OTHER, OUT, EDGE = 11, 8, 26, 5, 4, 3, 2
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}
FLOWS = ("source_to_target", "target_to_source")
SHAPES = ("one", "pair", "shared", "source only")

ATTENTION = {
    "heads": (1, 3),
    "concat": (True, False),
    "edge": (None, "matrix"),
    "bias": (True, False),
    "flow": FLOWS,
}
GAT = {
    **ATTENTION,
    "edge": (None, "matrix", "vector", "unused"),
    "residual": (False, True),
    "add_self_loops": (True, False),
    "fill_value": ("mean", "add", "max", 0.5),
    "negative_slope": (0.2, 0.01),
    "weights": (False, True),
    "shape": SHAPES,
}
FAMILIES = {
    "GATConv": (GAT, 250),
    "GATv2Conv": ({**GAT, "share_weights": (False, True)}, 200),
    "TransformerConv": (
        {
            **ATTENTION,
            "beta": (False, True),
            "root_weight": (True, False),
            "weights": (None, False, True),
            "shape": ("one", "pair", "shared"),
        },
        170,
    ),
    "GCNConv": (
        {
            "improved": (False, True),
            "cached": (False, True),
            "add_self_loops": (None, False),
            "normalize": (True, False),
            "bias": (True, False),
            "weight": (False, True),
            "flow": FLOWS,
            "wide": (False, True),
            "batch": ((), (2,)),
            "shape": ("one",),
        },
        120,
    ),
    "SAGEConv": (
        {
            "aggr": ("mean", "add", "sum", "max"),
            "normalize": (False, True),
            "root_weight": (True, False),
            "project": (False, True),
            "bias": (True, False),
            "flow": FLOWS,
            "wide": (False, True),
            "batch": ((), (2,)),
            "shape": SHAPES,
        },
        120,
    ),
    "GINConv": (
        {
            "eps": (0.0, 0.3),
            "train_eps": (False, True),
            "aggr": ("add", "mean"),
            "flow": FLOWS,
            "batch": ((), (2,)),
            "shape": ("one", "shared", "source only"),
        },
        60,
    ),
    "GMMConv": (
        {
            "aggr": ("mean", "add", "max"),
            "kernel_size": (1, 3),
            "flow": FLOWS,
            "separate_gaussians": (False, True),
            "bias": (True, False),
            "shape": SHAPES,
        },
        70,
    ),
    "GPSConv": (
        {
            "heads": (1, 2),
            "norm": ("batch_norm", "layer_norm", None),
            "act": ("relu", "gelu"),
            "local": (None, "GCNConv", "GATConv"),
            "graphs": (None, (4, 7), (1, 3, 5, 2)),
            "attn_kwargs": (None, {"bias": False}, {"add_bias_kv": True}),
        },
        50,
    ),
}


def drawn(name):
    """All configurations of a layer in random order, and how many to try."""
    settings, count = FAMILIES[name]
    every = [
        dict(zip(settings, values, strict=True)) for values in itertools.product(*settings.values())
    ]
    random.Random(name).shuffle(every)
    return every, count


def edges(targets, sources, flow):
    """Copies of edges and self-loops; the last nodes of both kinds are isolated."""
    ends = torch.stack([torch.randint(sources - 1, (EDGES,)), torch.randint(targets - 2, (EDGES,))])
    ends = torch.cat([ends, ends[:, ::6], torch.tensor([[1, 3], [1, 3]])], 1)
    return ends if flow == FLOWS[0] else ends.flip(0)


class Case:
    """One configuration: both layers with the same weights, and inputs for them."""

    def __init__(self, name, settings, dtype):
        settings = dict(settings)
        flow = settings.get("flow", FLOWS[0])
        self.asked = settings.pop("weights", None)
        shape, batch = settings.pop("shape", "one"), settings.pop("batch", ())
        if name == "GATv2Conv" and shape == "source only":
            shape = "one"
        if name == "GMMConv" and shape == "source only":
            shape = "one"
        targets, sources = (NODES, NODES) if shape == "one" else (NODES, SOURCES)
        if flow == FLOWS[1] and name != "TransformerConv":
            sources = targets  # the original takes one for the other
        rows = (sources, targets)
        widths = (IN, OTHER) if shape == "pair" else (IN, IN)
        x = [torch.randn(*batch, n, w) for n, w in zip(rows, widths, strict=True)]
        edge_index = edges(targets, sources, flow)
        if shape == "one":
            x = x[:1]
        self.kwargs = {}
        if shape == "source only":
            x = [x[0], None]
            self.kwargs = {"size": rows}
        kind = settings.pop("edge", None)
        extra = self.edge_tensor(name, kind, settings, edge_index)
        self.inputs = [None if part is None else part.to(dtype) for part in [*x, extra]]
        self.two_sets, self.edge_index, self.dtype = len(x) == 2, edge_index, dtype
        arguments = self.arguments(name, settings, widths if shape == "pair" else IN)
        with torch.random.fork_rng():
            self.theirs = self.built(originals, name, arguments, settings).to(dtype)
        with torch.random.fork_rng():
            self.ours = self.built(pyg, name, arguments, settings).to(dtype)
        for parameter in self.theirs.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))  # no bias is zero
        if name == "GMMConv":
            self.theirs.sigma.data.abs_().add_(0.4)  # kernels that see some edges
        self.ours.load_state_dict(self.theirs.state_dict())

    def edge_tensor(self, name, kind, settings, edge_index):
        count = edge_index.shape[1]
        if name == "GCNConv" and settings.pop("weight"):
            return torch.rand(count)
        if name == "GMMConv":
            return torch.rand(count, EDGE)
        if kind is None or (kind == "unused" and name == "GATv2Conv"):
            return None
        if kind != "unused":
            settings["edge_dim"] = 1 if kind == "vector" else EDGE
        return torch.randn(count) if kind == "vector" else torch.randn(count, EDGE)

    def arguments(self, name, settings, in_channels):
        if name == "GINConv":
            return ()
        if name == "GPSConv":
            return (4,)
        if name == "GMMConv":
            return (in_channels, OUT, EDGE)
        if name == "GCNConv" and not settings["normalize"]:
            settings["add_self_loops"] = False
        return (in_channels, 2 * IN if settings.pop("wide", False) else OUT)

    def built(self, library, name, arguments, settings):
        settings = dict(settings)
        layer = getattr(library, name)
        if name == "GINConv":
            arguments = (nn.Sequential(nn.Linear(IN, 6), nn.ReLU(), nn.Linear(6, OUT)),)
        if name == "GPSConv":
            local = settings.pop("local")
            settings.pop("graphs")
            local = None if local is None else getattr(library, local)(4, 4)
            return layer(4, local, **settings)
        return layer(*arguments, **settings)

    def result(self, layer):
        """Outputs, and gradients of inputs and parameters, of one layer."""
        layer.eval()
        inputs = [None if t is None else t.clone().requires_grad_() for t in self.inputs]
        *x, extra = inputs
        more = {} if extra is None else {"edge_attr": extra}
        if isinstance(layer, originals.GCNConv):
            more = {} if extra is None else {"edge_weight": extra}
        if self.asked is not None and not isinstance(layer, originals.GCNConv):
            more["return_attention_weights"] = self.asked
        out = layer(tuple(x) if self.two_sets else x[0], self.edge_index, **more, **self.kwargs)
        found = [out]
        if isinstance(out, tuple):
            out, (ends, alpha) = out
            found = [out, alpha, ends]
        weights = torch.Generator().manual_seed(1)
        total = sum(
            (part * torch.randn(part.shape, generator=weights, dtype=self.dtype)).sum()
            for part in found[:2]
        )
        leaves = [t for t in (*inputs, *layer.parameters()) if t is not None]
        grads = torch.autograd.grad(total, leaves, allow_unused=True)
        return found, grads


class GPSCase(Case):
    """The same for GPS: three graphs of a batch."""

    def __init__(self, name, settings, dtype):
        settings = dict(settings)
        sizes = settings["graphs"]
        super().__init__(name, settings, dtype)
        self.inputs = [torch.randn(NODES, 4, dtype=dtype), None]
        if sizes is not None:
            self.kwargs = {"batch": torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))}


def case(name, settings, dtype):
    return (GPSCase if name == "GPSConv" else Case)(name, settings, dtype)


def difference(found, expected):
    """Largest error, as a share of the largest number of each tensor (at least one)."""
    worst = 0.0
    for both in zip(found, expected, strict=True):
        mine, theirs = (part if part is None else part.detach() for part in both)
        if (mine is None) != (theirs is None):  # no gradient here is a gradient of zero there
            there = mine if theirs is None else theirs
            worst = max(worst, float(there.abs().max()))
        elif mine is not None:
            assert mine.shape == theirs.shape
            assert mine.dtype == theirs.dtype
            if mine.numel():
                scale = max(1.0, float(theirs.abs().max()))
                worst = max(worst, float((mine - theirs).abs().max()) / scale)
                assert not mine.isnan().any()
    return worst


def tried(name, count, change=None):
    """Results of both layers of ``count`` configurations, leaving out what the original refuses."""
    every, _ = drawn(name)
    done = 0
    for number, settings in enumerate(every):
        for dtype in (torch.float64, torch.float32):
            torch.manual_seed(number)
            both = case(name, settings, dtype)
            if change is not None:
                change(both.ours)
            try:
                theirs = both.result(both.theirs)
            except (RuntimeError, ValueError, IndexError, AttributeError):
                with pytest.raises((RuntimeError, ValueError, IndexError, AttributeError)):
                    both.result(both.ours)
                break
            yield settings, both, both.result(both.ours), theirs
        else:
            done += 1
        if done == count:
            return


@pytest.mark.parametrize("name", first_of(3, FAMILIES))
def test_outputs_and_gradients(name):
    _, count = drawn(name)
    runs = by_edgewise = 0
    for settings, both, (ours, our_grads), (theirs, their_grads) in tried(name, count):
        assert type(both.ours) is getattr(pyg, name)
        assert repr(both.ours) == repr(both.theirs)
        both.theirs.load_state_dict(both.ours.state_dict())
        worst = difference([*ours, *our_grads], [*theirs, *their_grads])
        assert worst <= TOLERANCE[both.dtype], (settings, both.dtype, worst)
        runs += 1
        by_edgewise += both.ours.why_original() is None
    assert runs == 2 * count
    usual = {"GMMConv": 0.2, "GPSConv": 0.5}
    assert by_edgewise >= usual.get(name, 1.0) * runs


def test_there_are_a_thousand_of_them():
    assert sum(count for _, count in FAMILIES.values()) >= 1_000


@pytest.mark.parametrize("name", FAMILIES)
def test_other_weights_would_be_noticed(name):
    """The control: weights off by a little, and every configuration fails."""

    def change(layer):
        for parameter in layer.parameters():
            parameter.data.add_(1e-3 * torch.randn_like(parameter))

    for settings, both, (ours, _), (theirs, _) in tried(name, 15, change):
        assert difference(ours, theirs) > TOLERANCE[both.dtype], settings
