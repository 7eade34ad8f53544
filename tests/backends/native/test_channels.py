"""Sums over any number of channels: nothing is padded, and nothing beside a row is touched."""

import itertools

import pytest
import torch

import edgewise as ew
from edgewise.backends.native import storage
from edgewise.backends.native.library import AGGREGATE
from tests.backends.native.backend import NATIVE
from tests.backends.native.guarded import HAS_GUARDS, guarded
from tests.backends.native.test_variants import best, run  # noqa: F401 (a fixture)
from tests.pairwise import first_of

CHANNELS = [*range(1, 21), 24, 31, 33, 63, 64, 65, 100, 127, 160, 300]
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
REDUCES = ("sum", "mean", "max")
T, S, E = 7, 9, 70
BESIDE = 3  # columns of NaN before each row


def graph():
    """Targets 0 and 6 read nothing, target 3 many sources; some edges occur twice."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(S, (E,), generator=generator)
    target = torch.randint(1, T - 1, (E,), generator=generator)
    target[torch.rand(E, generator=generator) < 0.4] = 3
    return ew.EdgeList(torch.stack([source, target]), num_targets=T, num_sources=S)


def table(rows, channels, dtype, *, at_start):
    """Rows of numbers beside columns of NaN, up to the last byte that may be read."""
    wide = torch.full((rows, BESIDE + channels), torch.nan, dtype=dtype)
    columns = slice(0, channels) if at_start else slice(BESIDE, None)
    wide[:, columns] = torch.randn(rows, channels).to(dtype)
    return guarded(wide, at_start=at_start)[:, columns]


def outcome(value, weight, grad, reduce, backend, dtype):
    """The result and the gradients of value and weight."""
    leaves = [value.to(dtype).detach().requires_grad_()]
    if weight is not None:
        leaves.append(weight.to(dtype).detach().requires_grad_())
    factors = leaves[1] if weight is not None else None
    out = ew.aggregate(leaves[0], graph(), reduce, weight=factors, backend=backend)
    grads = torch.autograd.grad(out, leaves, grad.to(dtype))
    return out.detach(), *grads


def check(channels, dtype, reduce, *, weighted, at_start, backend):
    value = table(S, channels, dtype, at_start=at_start)
    grad = table(T, channels, dtype, at_start=at_start)
    weight = guarded(torch.randn(E).to(dtype), at_start=at_start) if weighted else None
    found = outcome(value, weight, grad, reduce, backend, dtype)
    # Exact numbers of the same inputs; where maxima tie in a low precision, they tie there too.
    expected = outcome(value, weight, grad, reduce, "gather", torch.float64)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        size = float(other.abs().max())
        error = float((one.double() - other).abs().max())
        bound = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 4 * torch.finfo(dtype).eps)
        assert error <= bound * max(size, 1.0), (channels, dtype, reduce, weighted, error)


def sweep(backend):
    """Every case, with all memory guarded: what the kernels write too."""
    plain = storage.new
    for at_start in (False, True):

        def new(shape, like, dtype, at_start=at_start):
            return guarded(plain(shape, like, dtype).fill_(torch.nan), at_start=at_start)

        storage.new = new
        torch.manual_seed(0)
        channels = [count for count in CHANNELS if not at_start or count < 17]
        for one in itertools.product(channels, DTYPES, REDUCES, (False, True)):
            *case, weighted = one
            check(*case, weighted=weighted, at_start=at_start, backend=backend)


@pytest.mark.skipif(not HAS_GUARDS, reason="pages are guarded by mprotect of Linux")
@pytest.mark.parametrize("variant", first_of(1, ["x86_64_v3", "x86_64_v4", "x86_64_v2", ""]))
def test_nothing_beside_a_row_is_touched(variant, best):  # noqa: F811
    if (best == "portable") != (variant == ""):
        pytest.skip("of no use here")
    if variant > best:
        pytest.skip(f"this processor has no more than {best}")
    program = (
        f"from tests.backends.native.test_channels import sweep; sweep({NATIVE!r}); print('done')"
    )
    assert run(variant, "-c", program) == "done"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 7, 20, 100, 127])
def test_no_number_of_channels_is_copied(channels, dtype, monkeypatch):
    seen = []
    pack = AGGREGATE.pack
    monkeypatch.setattr(AGGREGATE, "pack", lambda *fields: seen.append(fields) or pack(*fields))
    value = torch.randn(2, S, channels + 1).to(dtype)[..., 1:]
    out = ew.aggregate(value, graph(), backend=NATIVE)
    (fields,) = seen
    place = AGGREGATE.place
    assert fields[place["value"]] == value.data_ptr()
    assert fields[place["out"]] == out.data_ptr()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("channels", [1, 3, 17, 100, 160])
def test_a_graph_has_one_result_alone_and_in_a_batch(channels, reduce, dtype):
    one, number = graph(), 3
    value = torch.randn(number * S, channels).to(dtype)
    weight = torch.randn(number * E).to(dtype)
    whole = ew.aggregate(
        value, ew.disjoint_union([one] * number), reduce, weight=weight, backend=NATIVE
    )
    parts = [
        ew.aggregate(part, one, reduce, weight=own, backend=NATIVE)
        for part, own in zip(value.split(S), weight.split(E), strict=True)
    ]
    assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize("reduce", REDUCES)
@pytest.mark.parametrize("channels", [1, 5, 20, 100])
def test_rows_that_are_cut_have_any_number_of_channels(channels, reduce):
    many = 20_000  # more edges of one target than a piece of a row has
    value = torch.randn(many, channels, dtype=torch.float64)
    found = ew.aggregate(value, ew.Complete(1, many), reduce, backend=NATIVE)
    expected = value.amax(0) if reduce == "max" else getattr(value, reduce)(0)
    torch.testing.assert_close(found[0], expected)


def test_a_maximum_of_nan_and_infinities():
    nan, inf = torch.nan, torch.inf
    rows = [[nan, 1.0, inf, -inf], [2.0, nan, nan, -inf], [nan, 3.0, -inf, -inf]]
    value = torch.tensor(rows, requires_grad=True)
    found = ew.aggregate(value, ew.Complete(1, 3), "max", backend=NATIVE)
    assert found[0].isnan().tolist() == [True, True, True, False]
    assert found[0, 3] == -inf
    (grad,) = torch.autograd.grad(found.sum(), value)
    assert grad.tolist() == [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0], [0.0] * 4]


@pytest.mark.parametrize("reduce", REDUCES)
def test_a_nan_stays_with_those_who_read_it(reduce):
    for channels in (1, 5, 20, 100):
        value = torch.randn(S, channels)
        value[4] = torch.nan
        found = ew.aggregate(value, graph(), reduce, backend=NATIVE)
        edges = ew.edges(graph())
        readers = set(edges.target[edges.source == 4].tolist())
        assert {row for row in range(T) if found[row].isnan().any()} == readers
        assert all(found[row].isnan().all() for row in readers)
