"""Every layer and model under every tracer and transformation of torch: right, or one sentence.

Nothing may run on sizes, numbers or addresses that a tracer met at its first call.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from edgewise.errors import ArgumentError, EdgewiseError
from tests.faults.child_process import in_a_child
from tests.faults.kinds import Kind, each_case
from tests.faults.layer_cases import CASES, LAYERS, Applied, LayerCase, built, flat

SCRIPTABLE = {"rotary", "spatial bias", "path bias"}  # they read no graph


def parts(result: Any) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def assert_same(ours: Any, expected: Any, tolerance: float = 1e-5) -> None:
    for a, b in zip(parts(ours), parts(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def assert_same_shapes(ours: Any, expected: Any) -> None:
    assert [(t.shape, t.dtype) for t in parts(ours)] == [
        (t.shape, t.dtype) for t in parts(expected)
    ]


def backward(found: Any) -> None:
    """Send a gradient back through all that takes one."""
    wanted = [part.float().sum() for part in parts(found) if part.requires_grad]
    if wanted:
        torch.stack(wanted).sum().backward()


def others(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Other numbers of the same shapes."""
    torch.manual_seed(1)
    return tuple(torch.randn_like(t) if t.is_floating_point() else t.roll(1, -1) for t in inputs)


# --- Tracers --------------------------------------------------------------------------------------


def check_jit_trace(case: LayerCase) -> None:
    module, inputs = built(case)

    def traced_is_right() -> None:
        # Shape checks of layers become constants of the trace, of which torch warns.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        try:
            traced = torch.jit.trace(module, inputs, check_trace=False)
        except EdgewiseError:
            return  # a sentence
        for given in (inputs, others(inputs)):
            assert_same(traced(*given), module(*given))

    in_a_child(traced_is_right)


def check_jit_script(case: LayerCase) -> None:
    module, _ = built(case)
    with pytest.raises(ArgumentError, match=r"torch\.jit\.script: \w+ is Python .* Use torch\."):
        torch.jit.script(module.module)


class OneInput(nn.Module):
    """`torch.fx` wants a signature without ``*``."""

    def __init__(self, module: nn.Module, rest: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.module, self.rest = module, rest

    def forward(self, x: Tensor) -> Any:
        return self.module(x, *self.rest)


def check_fx(case: LayerCase) -> None:
    module, inputs = built(case)
    wrapped = OneInput(module, inputs[1:])
    try:
        traced = torch.fx.symbolic_trace(wrapped)
    except EdgewiseError:
        return  # a sentence
    assert_same(traced(inputs[0]), wrapped(inputs[0]))


def check_export(case: LayerCase) -> None:
    module, inputs = built(case)
    exported = torch.export.export(module, inputs).module()
    for given in (inputs, others(inputs)):
        assert_same(exported(*given), module(*given))


def check_export_of_any_batch(case: LayerCase) -> None:
    module, inputs = built(case)
    shapes = tuple(
        {0: torch.export.Dim.DYNAMIC} if len(t) == 2 and t.ndim > 1 else None for t in inputs
    )
    exported = torch.export.export(module, inputs, dynamic_shapes=(shapes,)).module()
    larger = tuple(
        torch.cat([t, t, t]) if shape else t for t, shape in zip(inputs, shapes, strict=True)
    )
    assert_same(exported(*larger), module(*larger))


def check_compile(case: LayerCase) -> None:
    torch.compiler.reset()
    module, inputs = built(case)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    for given in (inputs, others(inputs)):
        assert_same(compiled(*given), module(*given))


# --- Tensors without numbers ----------------------------------------------------------------------


def check_fake(case: LayerCase) -> None:
    module, inputs = built(case)
    expected = module(*inputs)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        found = module(*(mode.from_tensor(t) for t in inputs))
    assert_same_shapes(found, expected)
    assert_same(module(*inputs), expected)  # nothing fake is remembered


def check_only_fake(case: LayerCase) -> None:
    """Nothing real is left on graphs that calls on real tensors used before."""
    module, inputs = built(case)
    expected = module(*inputs)
    with FakeTensorMode() as mode:
        fake = Applied(case.build(), case.call).eval()
        found = fake(*(mode.from_tensor(t) for t in inputs))
    assert_same_shapes(found, expected)


def check_meta(case: LayerCase) -> None:
    module, inputs = built(case)
    expected = module(*inputs)
    found = copy.deepcopy(module).to("meta")(*(t.to("meta") for t in inputs))
    assert all(t.is_meta for t in parts(found))
    assert_same_shapes(found, expected)
    assert_same(module(*inputs), expected)


# --- Transformations and derivatives --------------------------------------------------------------


def check_vmap(case: LayerCase) -> None:
    module, inputs = built(case)
    both = tuple(torch.stack(pair) for pair in zip(inputs, others(inputs), strict=True))
    found = torch.func.vmap(module)(*both)
    one_by_one = [parts(module(*(t[i] for t in both))) for i in range(2)]
    assert_same(found, tuple(map(torch.stack, zip(*one_by_one, strict=True))))


def check_ensemble(case: LayerCase) -> None:
    module, inputs = built(case)
    modules = [module, copy.deepcopy(module)]
    with torch.no_grad():
        for weight in modules[1].parameters():
            weight.add_(0.1)
    weights, buffers = torch.func.stack_module_state(modules)  # type: ignore[arg-type]
    found = torch.func.vmap(
        lambda w, b: torch.func.functional_call(module, (w, b), inputs)  # type: ignore[arg-type]
    )(weights, buffers)
    one_by_one = [parts(each(*inputs)) for each in modules]
    assert_same(found, tuple(map(torch.stack, zip(*one_by_one, strict=True))))


def loss_of_first(case: LayerCase) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """A number as a function of the first input, in float64, and that input."""
    module, inputs = built(case, torch.float64)

    def loss(x: Tensor) -> Tensor:
        return torch.stack([part.sin().sum() for part in parts(module(x, *inputs[1:]))]).sum()

    return loss, inputs[0]


def check_forward_mode(case: LayerCase) -> None:
    loss, x = loss_of_first(case)
    way = torch.randn_like(x)
    _, found = torch.func.jvp(loss, (x,), (way,))
    step = 1e-6 * way
    expected = (loss(x + step) - loss(x - step)) / 2e-6
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-6)


def check_second_derivative(case: LayerCase) -> None:
    loss, x = loss_of_first(case)
    way = torch.randn_like(x)

    def slope(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return (torch.autograd.grad(loss(x), x)[0] * way).sum()

    x = x.clone().requires_grad_()
    first = torch.autograd.grad(loss(x), x, create_graph=True)[0]
    found = torch.autograd.grad((first * way).sum(), x)[0]
    other = torch.randn_like(x)
    step = 1e-5 * other
    expected = (slope(x + step) - slope(x - step)) / 2e-5
    torch.testing.assert_close((found * other).sum(), expected, rtol=1e-4, atol=1e-5)


def check_hessian(case: LayerCase) -> None:
    loss, x = loss_of_first(case)
    rest = x.flatten()[4:]

    def of_four(four: Tensor) -> Tensor:
        return loss(torch.cat([four, rest]).view_as(x))

    found = torch.func.hessian(of_four)(x.flatten()[:4])
    expected = torch.autograd.functional.jacobian(
        lambda four: torch.autograd.grad(of_four(four), four, create_graph=True)[0],
        x.flatten()[:4].clone().requires_grad_(),
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def check_functional_gradient(case: LayerCase) -> None:
    loss, x = loss_of_first(case)
    leaf = x.clone().requires_grad_()
    expected = torch.autograd.grad(loss(leaf), leaf)[0]
    torch.testing.assert_close(torch.func.grad(loss)(x), expected)


# --- Copies and precisions ------------------------------------------------------------------------


def check_copies(case: LayerCase) -> None:
    module, inputs = built(case)
    expected = module(*inputs)
    assert_same(copy.deepcopy(module)(*inputs), expected, 0.0)
    again = pickle.loads(pickle.dumps(module.module))
    assert_same(flat(case.call(again, *inputs)), expected, 0.0)


def check_half(case: LayerCase) -> None:
    module, inputs = built(case)
    expected = parts(module(*inputs))
    for dtype in (torch.bfloat16, torch.float16):
        module, inputs = built(case, dtype)
        for a, b in zip(parts(module(*inputs)), expected, strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a.float(), b, rtol=0.2, atol=0.2)


def check_autocast(case: LayerCase) -> None:
    module, inputs = built(case)
    expected = parts(module(*inputs))
    with torch.autocast("cpu", torch.bfloat16):
        found = parts(module(*inputs))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.float(), b, rtol=0.2, atol=0.2)
    backward(found)


def check_moved(case: LayerCase) -> None:
    module, inputs = built(case)
    module(*inputs)  # what is remembered about a graph must not keep its dtype
    found = module.to(torch.float64)(*(t.double() if t.is_floating_point() else t for t in inputs))
    assert all(part.dtype == torch.float64 for part in parts(found))


def check_inference_first(case: LayerCase) -> None:
    module, inputs = built(case)
    with torch.inference_mode():
        expected = module(*inputs)
    found = module(*inputs)
    assert_same(found, expected, 1e-6)
    backward(found)


def chosen(cases: Mapping[str, LayerCase], *left_out: str) -> dict[str, LayerCase]:
    return {name: case for name, case in cases.items() if name not in left_out}


def floating(cases: Mapping[str, LayerCase]) -> dict[str, LayerCase]:
    return {n: case for n, case in cases.items() if case.inputs()[0].is_floating_point()}


# torch's recurrences over packed sequences read the lengths, which fake ones have not.
PACKED = ("LSTM", "GRU")

KINDS = (
    Kind("jit.trace", check_jit_trace, chosen(CASES)),
    Kind("jit.script", check_jit_script, chosen(CASES, *SCRIPTABLE)),
    Kind("fx", check_fx, chosen(CASES)),
    Kind("fake tensors", check_fake, chosen(CASES, *PACKED)),
    # torch.nn.init.trunc_normal_ reads numbers.
    Kind("fake tensors alone", check_only_fake, chosen(CASES, *PACKED, "Vision Transformer")),
    Kind("meta", check_meta, chosen(CASES, *PACKED)),
    Kind("vmap", check_vmap, LAYERS),
    Kind("vmap over weights", check_ensemble, chosen(LAYERS, "rotary")),  # it has none
    Kind("forward mode", check_forward_mode, LAYERS),
    Kind("second derivative", check_second_derivative, floating(CASES)),
    Kind("hessian", check_hessian, LAYERS),
    Kind("functional gradient", check_functional_gradient, LAYERS),
    Kind("copies", check_copies, CASES),
    Kind("half precision", check_half, LAYERS),
    Kind("autocast", check_autocast, LAYERS),
    Kind("moved to float64", check_moved, LAYERS),
    Kind("inference first", check_inference_first, LAYERS),
)

# A tracer knows no facts, so this table of numbers is longer in compiled code, and as right.
LONGER = "relative bias"
SLOW = (
    Kind("export", check_export, chosen(CASES, *PACKED, LONGER)),
    Kind("export of any batch", check_export_of_any_batch, chosen(LAYERS, LONGER)),
    Kind("compile", check_compile, chosen(CASES, *PACKED, LONGER)),
)


@each_case(KINDS)
def test_no_fault(check, case):
    check(case)


@pytest.mark.slow
@each_case(SLOW)
def test_no_fault_in_compiled_code(check, case):
    check(case)


def test_every_layer_and_model_has_a_case():
    """A class of `edgewise.nn` that is in no case is forgotten here."""
    import edgewise.nn as layers

    seen: set[type] = set()
    for case in CASES.values():
        seen |= {type(module) for module in case.build().modules()}
    classes = {
        value
        for value in vars(layers).values()
        if isinstance(value, type) and issubclass(value, nn.Module)
    }
    assert classes - seen == set()
