"""The contract: every backend, every graph, every setting, every dtype."""

import pytest
import torch

import edgewise as ew
from edgewise.backends import BACKENDS
from edgewise.testing import GRAPHS, SETTINGS, assert_keeps_contract, expected_refusal
from tests.pairwise import crossed

# FlexAttention trains on GPUs only; tests/backends/flex holds what it does on CPUs.
NAMES = [backend.name for backend in BACKENDS if backend.name != "flex"]
TWICE = [backend.name for backend in BACKENDS if backend.twice_differentiable]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]

# What each backend refuses, as (settings, graphs) of the table: any other refusal is a failure.
COPIES = {"edge list, copies", "edge list, bipartite with copies", "disjoint union of edge lists"}
EDGE_FEATURES = {name for name, setting in SETTINGS.items() if setting.edge_features}
GATV2 = {name for name in SETTINGS if name.startswith("gatv2")}
PER_EDGE = {k for k, s in SETTINGS.items() if s.dropout or (s.bias and s.bias_shape[-1] == "E")}


# Rounding does not depend on the family of a graph, so low precision is tried on some of them.
LOW_PRECISION = {"causal", "causal, tall: isolated targets", "window | hubs", "edge list, copies",
                 "edge list, no edges", "disjoint union"}  # fmt: skip


BANDS = {"complete", "complete, rectangular", "causal", "causal, decoding", "causal, wide",
         "window", "window, rectangular", "dilated", "self-loops", "one node",
         "hubs: isolated others"}  # fmt: skip
BLOCKS = {"hubs: isolated others",
          "complete", "complete, rectangular", "causal", "causal, decoding", "causal, wide",
          "causal, tall: isolated targets", "blocks, one empty", "blocks, rectangular",
          "self-loops", "one node", "no targets", "no sources"}  # fmt: skip
PLAIN = {"dot", "dot, scaled", "dot, scale 0", "dot, scale below 0", "dot, tiny scale",
         "dot, scale that float32 rounds to 0",
         "dot, other value size", "dot, batch", "dot, two batch dimensions",
         "dot, grouped heads", "dot, one key head", "dot, strided"}  # fmt: skip


def may_refuse(backend: str, setting: str, graph: str) -> bool:
    if backend == "banded":
        return setting not in PLAIN or graph not in BANDS
    if backend == "ragged":
        return setting not in PLAIN or graph not in BLOCKS
    if backend == "blocked":
        return setting not in PLAIN or graph in COPIES
    if backend != "dense":
        return False
    return setting in EDGE_FEATURES | GATV2 or (setting in PER_EDGE and graph in COPIES)


def name_of_dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@pytest.mark.parametrize(
    ("backend", "setting", "dtype"),
    crossed(NAMES, SETTINGS, DTYPES, ids=(None, None, name_of_dtype)),
)
def test_backend_gives_the_reference_numbers(backend, setting, dtype):
    low = dtype in (torch.bfloat16, torch.float16)
    for name, graph in GRAPHS.items():
        if low and name not in LOW_PRECISION:
            continue
        call = SETTINGS[setting].call(graph, dtype)
        # The oracle sees the rounded inputs, so only the computation is compared.
        oracle = type(call)(
            call.setting,
            graph,
            {k: t.detach().double().requires_grad_() for k, t in call.tensors.items()},
        )
        reasons = expected_refusal(backend, SETTINGS[setting], graph)
        assert bool(reasons) == may_refuse(backend, setting, name), (name, reasons)
        if reasons:
            with pytest.raises(ew.BackendRefused) as refusal:
                call.out(backend)
            assert all(reason in str(refusal.value) for reason in reasons)
            continue
        try:
            assert_keeps_contract(backend, call, oracle)
        except AssertionError as error:
            raise AssertionError(f"on {name}: {error}") from error


@pytest.mark.parametrize(("backend", "setting"), crossed(NAMES, SETTINGS, strength=1))
def test_gradcheck(backend, setting):
    for name in ("window | hubs", "edge list, isolated", "edge list, copies", "causal, wide",
                 "dilated"):  # fmt: skip
        if may_refuse(backend, setting, name):
            continue
        call = SETTINGS[setting].call(GRAPHS[name], torch.float64, seed=1)
        used = call.used()

        def outputs(*tensors, call=call, names=tuple(used)):
            return call.out(backend, **dict(zip(names, tensors, strict=True)))

        assert torch.autograd.gradcheck(outputs, tuple(used.values()), fast_mode=True), name


@pytest.mark.parametrize(("backend", "setting"), crossed(TWICE, SETTINGS, strength=1))
def test_second_derivatives(backend, setting):
    families = ("window | hubs", "edge list, copies", "causal, tall: isolated targets", "causal",
                "dilated", "blocks, one empty")  # fmt: skip
    runs = [name for name in families if not may_refuse(backend, setting, name)]
    turn = list(SETTINGS).index(setting)  # two for each setting, all of them over the settings
    for name in {runs[turn % len(runs)], runs[(turn + 1) % len(runs)]} if runs else ():
        call = SETTINGS[setting].call(GRAPHS[name], torch.float64, seed=2)
        used = call.used()

        def outputs(*tensors, call=call, names=tuple(used)):
            chosen = dict(zip(names, tensors, strict=True))
            return call.out(backend, **chosen), call.state(backend, **chosen).out

        assert torch.autograd.gradgradcheck(outputs, tuple(used.values()), fast_mode=True), name


@pytest.mark.parametrize("setting", SETTINGS)
def test_flex_does_not_train_on_cpus(setting):
    for graph in GRAPHS.values():
        assert any(
            "has no backward pass on CPUs" in reason
            for reason in expected_refusal("flex", SETTINGS[setting], graph)
        )


def test_every_backend_runs_something():
    for backend in NAMES:
        assert any(
            not expected_refusal(backend, setting, graph)
            for setting in SETTINGS.values()
            for graph in GRAPHS.values()
        )


@pytest.mark.parametrize("backend", NAMES)
def test_the_contract_can_fail(backend):
    """Inputs with an error of 1e-3 fail."""
    call = SETTINGS["dot"].call(GRAPHS["causal"], torch.float64)
    shifted = {k: (t.detach() + 1e-3).requires_grad_() for k, t in call.tensors.items()}
    with pytest.raises(AssertionError, match="differs by"):
        assert_keeps_contract(backend, type(call)(call.setting, call.graph, shifted), call)
