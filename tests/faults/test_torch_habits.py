"""Layers and models have the habits of torch's modules: device, dtype, reset_parameters, keywords.

Each habit is tried on every layer of the registry and on the model of every card.
"""

import copy
import inspect
import math

import pytest
import torch
from torch import nn

import edgewise as ew
import edgewise.nn as layers
from edgewise import models
from edgewise.errors import ArgumentError
from edgewise.models.graph.feature_embedding import EdgeEmbedding, NodeEmbedding
from edgewise.nn.layer import Layer
from tests.faults.kinds import Kind, each_case
from tests.faults.layer_cases import CASES, LAYERS, MODELS, flat

CLASSES = {
    name: item
    for module in (layers, models)
    for name, item in vars(module).items()
    if inspect.isclass(item) and issubclass(item, nn.Module)
}
MODULES = CLASSES | {"NodeEmbedding": NodeEmbedding, "EdgeEmbedding": EdgeEmbedding}
# They make no parameters or buffers themselves, as torch.nn.Dropout and torch.nn.Sequential do not.
WITHOUT_TENSORS = {"FeatureDropout", "GraphNetwork", "Rotary", "TextEncoder", "TwoLayers"}
FUNCTIONS = {
    name: getattr(models, name)
    for name in ("bert", "gpt2", "llama", "transformer", "transformer_block", "vit")
}
DRAWS = 12


def tensors(module):
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def floating(module):
    return {name: t for name, t in tensors(module).items() if t.is_floating_point()}


def with_nan(module):
    """A module whose floating numbers are all NaN, as memory that was not filled may be."""
    with torch.no_grad():
        for tensor in floating(module).values():
            tensor.fill_(math.nan)
        for name, tensor in module.named_buffers():
            if name not in floating(module):
                tensor.fill_(77)
    return module


def result_of(case, module, seed=0):
    torch.manual_seed(seed)
    inputs = case.inputs()
    torch.manual_seed(seed)
    return flat(case.call(module.eval(), *inputs))


# --- Device and dtype -----------------------------------------------------------------------------


def check_made_there(case):
    module = case.build(device="meta", dtype=torch.float64)
    assert all(t.is_meta for t in tensors(module).values())
    assert {t.dtype for t in floating(module).values()} <= {torch.float64}


def check_dtype(case):
    module = case.build(dtype=torch.bfloat16)
    assert {t.dtype for t in floating(module).values()} <= {torch.bfloat16}
    assert all(t.isfinite().all() for t in floating(module).values())


def check_defaults(case):
    with torch.device("meta"):
        assert all(t.is_meta for t in tensors(case.build()).values())
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        result = {t.dtype for t in floating(case.build()).values()}
    finally:
        torch.set_default_dtype(before)
    assert result <= {torch.float64}


def check_same_numbers(case):
    """The keywords change where parameters are, not what they are."""
    torch.manual_seed(3)
    plain = case.build()
    torch.manual_seed(3)
    given = case.build(device="cpu", dtype=torch.float32)
    assert tensors(plain).keys() == tensors(given).keys()
    for name, tensor in tensors(plain).items():
        assert torch.equal(tensor, tensors(given)[name]), name


# --- Drawing anew ---------------------------------------------------------------------------------


def by_method(module):
    module.reset_parameters()


def by_loop(module):
    module.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)


def check_reset(case, reset):
    """After ``to_empty`` and a reset, weights have the distribution of new ones."""
    new, again = [], []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        new.append(tensors(case.build()))
        module = with_nan(case.build(device="meta").to_empty(device="cpu"))
        torch.manual_seed(1000 + seed)
        reset(module)
        again.append(tensors(module))
    for name in new[0]:
        a, b = (torch.stack([draw[name].detach().double() for draw in d]) for d in (new, again))
        assert_alike(name, a.flatten(), b.flatten())


def assert_alike(name, a, b):
    """Two samples from one distribution: one constant, or equal bounds and empirical functions."""
    assert b.isfinite().all(), name
    if bool((a == a[0]).all()):
        assert torch.equal(a, b), name
        return
    # Two-sample Kolmogorov-Smirnov statistic; 2.2 is exceeded with a chance of about 1e-4.
    points = torch.cat([a, b]).sort().values
    share = [torch.searchsorted(x.sort().values, points, right=True) / len(x) for x in (a, b)]
    assert (share[0] - share[1]).abs().max() < 2.2 * (2 / len(a)) ** 0.5, name


def check_equal_seeds(case):
    torch.manual_seed(5)
    module = case.build()
    before = {name: t.clone() for name, t in tensors(module).items()}
    with_nan(module)
    torch.manual_seed(5)
    module.reset_parameters()
    for name, tensor in tensors(module).items():
        assert torch.equal(tensor, before[name]), name


# Their weights are drawn once, in the order in which they are made.
DRAWN_ONCE = (
    *("transformer", "convolution", "convolution, weights", "pooling", "gcn", "mlp", "batch norm"),
    *("lightweight", "learned positions", "relative bias", "gin", "network", "path bias"),
)


# --- Copies ---------------------------------------------------------------------------------------


def check_copies(case):
    torch.manual_seed(0)
    module = case.build()
    expected = result_of(case, module)
    copied = copy.deepcopy(module)
    assert_same(result_of(case, copied), expected)
    for tensor, own in zip(tensors(copied).values(), tensors(module).values(), strict=True):
        assert tensor.data_ptr() != own.data_ptr() or not tensor.numel()
    filled = case.build(device="meta").to_empty(device="cpu")
    filled.load_state_dict(module.state_dict())
    assert_same(result_of(case, filled), expected)
    assigned = case.build(device="meta")
    assigned.load_state_dict(module.state_dict(), assign=True)
    assert_same(result_of(case, assigned), expected)


def assert_same(ours, expected):
    pairs = [x if isinstance(x, tuple) else (x,) for x in (ours, expected)]
    for a, b in zip(*pairs, strict=True):
        assert torch.equal(a, b)


# --- Signatures -----------------------------------------------------------------------------------


def check_signature(item):
    """Sizes and parts come by position and have no default; options by keyword alone."""
    parameters = list(inspect.signature(item).parameters.values())
    for parameter in parameters:
        if parameter.name == "p" and item is models.FeatureDropout:
            continue  # as in torch.nn.Dropout
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            assert required or item is layers.GraphNetwork, parameter  # parts that may be None
            assert parameter.annotation not in ("bool", "float", "str"), parameter
        elif parameter.kind is parameter.KEYWORD_ONLY and item is not models.TwoLayers:
            assert not required, parameter


def check_function_signature(item):
    """Functions that make published models take their first size by position, too."""
    positional = [
        parameter
        for parameter in inspect.signature(item).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    assert all(parameter.annotation == "int" for parameter in positional)
    assert sum(parameter.default is not parameter.empty for parameter in positional) <= 1


def check_forward(item):
    """After tensors and graphs, a call takes keywords alone."""
    for parameter in inspect.signature(item.forward).parameters.values():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name != "self":
            assert parameter.annotation not in ("bool", "float", "str"), parameter


def check_keywords(item):
    named = inspect.signature(item).parameters
    for name in ("device", "dtype"):
        assert named[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert named[name].default is None


# --- Words of other libraries ---------------------------------------------------------------------

X, RING = torch.zeros(3, 4), ew.EdgeList([[0, 1, 2], [1, 2, 0]], num_nodes=3)
ONES = torch.ones(3, 1)


def check_words(case):
    call, sentence = case
    with pytest.raises(ArgumentError, match=sentence):
        call()


WORDS = {
    "slope": (
        lambda: layers.GATAttention(4, 2, 2, slope=0.3),
        "no argument slope. Pass negative_slope",
    ),
    "slope of GATv2": (
        lambda: layers.GATv2Attention(4, 2, 2, slope=0.3),
        "no argument slope. Pass negative_slope",
    ),
    "unknown setting": (
        lambda: layers.GATAttention(4, 2, 2, sloppe=0.3),
        "there is no argument sloppe. Optional ones are negative_slope",
    ),
    "bias of scores": (
        lambda: layers.DotAttention(4, 2)(X, RING, bias=torch.zeros(2, 3)),
        "no argument bias. Pass score_bias",
    ),
    "mask of scores": (
        lambda: layers.DotAttention(4, 2)(X, RING, attn_mask=torch.zeros(2, 3)),
        "no argument attn_mask. Pass score_bias",
    ),
    "bias of GPS": (
        lambda: layers.GPSBlock(layers.GCNConvolution(4, 4), layers.DotAttention(4, 2), 4)(
            X, RING, everywhere=RING, bias=torch.zeros(2, 3)
        ),
        "GPSBlock: there is no argument bias. Pass score_bias",
    ),
    "in a block": (
        lambda: layers.Block(layers.DotAttention(4, 2), 4)(X, RING, edge_attr=ONES),
        "DotAttention: there is no argument edge_attr. Pass edge: features",
    ),
    "a control character": (
        lambda: layers.GCNConvolution(4, 4)(X, RING, **{"a\x1b[31m": 1}),
        r"no argument a\\x1b\[31m",
    ),
    **{
        f"{word} for {type(layer()).__name__}": (
            lambda layer=layer, word=word: layer()(X, RING, **{word: ONES}),
            rf"there is no argument {word}\. Pass edge: features of edges",
        )
        for layer in (
            lambda: layers.GATAttention(4, 2, 2, edge_dim=1),
            lambda: layers.GATv2Attention(4, 2, 2, edge_dim=1),
            lambda: layers.TransformerConvolution(4, 2, 2, edge_dim=1),
            lambda: layers.EdgeAttention(4, 2, edge_dim=1),
            lambda: layers.GINEConvolution(layers.MLP(4, 4), 4, edge_dim=1),
            lambda: layers.MoNetConvolution(4, 4, 2, 1),
            lambda: models.GraphTransformer(4, 4, 2, 1, edge_dim=1),
            lambda: models.Graphormer(4, 4, 1, 2, 1, edge_dim=1),
        )
        for word in ("edge_attr", "edge_weight")
    },
    **{
        f"{word} for {type(layer()).__name__}": (
            lambda layer=layer, word=word: layer()(X, RING, **{word: torch.ones(3)}),
            rf"there is no argument {word}\. Pass edge_weight: one number for each edge",
        )
        for layer in (
            lambda: layers.GCNConvolution(4, 4),
            lambda: layers.GraphConvolution(4, 4),
            lambda: layers.GINConvolution(layers.MLP(4, 4)),
        )
        for word in ("edge", "edge_attr", "edge_weights")
    },
    "places of children": (
        lambda: layers.NaryTreeLSTM(4, 4)(X, RING, edge=torch.arange(3)),
        "no argument edge. Pass child_position",
    ),
    "no floating dtype": (
        lambda: layers.MLP(4, 8, dtype=torch.int64),
        r"MLP: dtype must be floating, got torch\.int64",
    ),
    "a dtype by name": (
        lambda: models.gpt2(9, dim=4, heads=2, layers=1, dtype="float32"),
        "gpt2: dtype must be floating, got float32",
    ),
    "a mixed dtype of a published model": (
        lambda: models.vit(2, dim=4, heads=2, layers=1, dtype=torch.bool),
        "vit: dtype must be floating",
    ),
}


WITH_TENSORS = {n: case for n, case in CASES.items() if n != "rotary"}
MAKING = {name: item for name, item in MODULES.items() if name not in WITHOUT_TENSORS}
KINDS = (
    Kind("parameters made elsewhere", check_made_there, WITH_TENSORS),
    Kind("parameters of another dtype", check_dtype, WITH_TENSORS),
    Kind("torch's defaults ignored", check_defaults, WITH_TENSORS),
    Kind("other numbers by keyword", check_same_numbers, WITH_TENSORS),
    Kind("reset", lambda case: check_reset(case, by_method), WITH_TENSORS),
    Kind("reset in a loop", lambda case: check_reset(case, by_loop), WITH_TENSORS),
    Kind("reset at a seed", check_equal_seeds, {name: CASES[name] for name in DRAWN_ONCE}),
    Kind("copies", check_copies, CASES),
    Kind("options by position", check_signature, CLASSES),
    Kind("options of functions by position", check_function_signature, FUNCTIONS),
    Kind("options of a call by position", check_forward, CLASSES),
    Kind("no device or dtype", check_keywords, {**MAKING, **FUNCTIONS}),
    Kind("words of other libraries", check_words, WORDS),
)


@each_case(KINDS)
def test_no_fault(check, case):
    check(case)


def test_every_layer_is_in_the_registry():
    inside = {
        type(part) for case in LAYERS.values() for part in case.build(device="meta").modules()
    }
    of_models = {type(part) for case in MODELS.values() for part in case.build().modules()}
    public = {item for item in vars(layers).values() if inspect.isclass(item)}
    missing = {item for item in public if issubclass(item, nn.Module)} - inside
    assert not missing
    held = {item for item in vars(models).values() if inspect.isclass(item)}
    others = {models.Perceptron, models.Pointwise, models.Convolutional, models.WordModel}
    assert {item for item in held if issubclass(item, nn.Module)} - of_models - others <= {
        models.TwoLayers  # the base of GCN and GAT
    }


@pytest.mark.parametrize("name", CASES)
def test_every_module_with_tensors_resets_and_describes_itself(name):
    module = CASES[name].build(device="meta")
    for part in module.modules():
        own = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
        assert not own or callable(getattr(part, "reset_parameters", None)), type(part)
        repr(part)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_with_settings_prints_them(name):
    item = MODULES[name]
    assert item.extra_repr is not nn.Module.extra_repr
    assert issubclass(item, Layer) or name in (
        *("FeatureDropout", "PathBias", "Pointwise", "Rotary", "SpatialBias"),
    )


@pytest.mark.parametrize("name", ["gpt2", "transformer"])
def test_a_tied_weight_stays_one(name):
    build = {
        "gpt2": lambda: models.gpt2(9, dim=4, heads=2, layers=1, device="meta"),
        "transformer": lambda: models.transformer(9, dim=4, heads=2, layers=1, device="meta"),
    }[name]
    for moved in (
        build().to_empty(device="cpu"),
        copy.deepcopy(build().to_empty(device="cpu")),
        build().to_empty(device="cpu").double().float(),
    ):
        table = moved.embedding if name == "gpt2" else moved.target
        assert moved.head.weight is table.token.weight
        moved.reset_parameters()
        assert moved.head.weight is table.token.weight
        assert moved.head.weight.isfinite().all()


def test_a_tied_weight_stays_one_when_it_is_assigned():
    def build(**made):
        return models.gpt2(9, dim=4, heads=2, layers=1, **made)

    model = build(device="meta")
    model.load_state_dict(build().state_dict(), assign=True)
    assert model.head.weight is model.embedding.token.weight
    inside = nn.ModuleList([build(device="meta")])
    inside.load_state_dict(nn.ModuleList([build()]).state_dict(), assign=True)
    assert inside[0].head.weight is inside[0].embedding.token.weight
    assert model.tied


def test_a_head_that_was_replaced_is_left_alone():
    model = models.gpt2(9, dim=4, heads=2, layers=1)
    model.head = head = nn.Linear(4, 2)
    weight = head.weight
    model.to(torch.float32).reset_parameters()
    assert model.head.weight is weight
    assert model.head.weight.shape == (2, 4)
    model.double().float()
    assert model.head.weight.shape == (2, 4)
    assert not model.tied
    model.head = nn.Identity()
    model.double()
    model.reset_parameters()
    untied = models.llama(9, dim=4, heads=2, layers=1, hidden=8).double()
    assert not untied.tied
    copied = copy.deepcopy(model)
    assert isinstance(copied.head, nn.Identity)


def test_generate_names_its_length():
    model = models.gpt2(9, dim=4, heads=2, layers=1).eval()
    tokens = torch.zeros(1, 2, dtype=torch.int64)
    with pytest.raises(TypeError, match=r"max_new_tokens|unexpected keyword"):
        model.generate(tokens, n=3)
    with pytest.raises(TypeError):
        model.generate(tokens, 3)
    assert model.generate(tokens, max_new_tokens=3).shape == (1, 5)
    with pytest.raises(ArgumentError, match=r"max_new_tokens must be a whole number, got 2\.5"):
        model.generate(tokens, max_new_tokens=2.5)
