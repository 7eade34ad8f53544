"""Rotary positions, and layers that go on where they were: settings of `DotAttention`."""

import pytest
import torch

from edgewise import ArgumentError, Causal, Complete, RelativeBias, ShapeError, Window
from edgewise.nn import MLP, Block, DotAttention, KVCache, Rotary


@pytest.mark.parametrize("interleaved", [False, True])
def test_only_distances_remain(interleaved):
    rotary = Rotary(8, interleaved=interleaved)
    query, key = torch.randn(2, 3, 5, 8, dtype=torch.float64).unbind()
    here = torch.arange(5)
    scores = [
        rotary(query, here + shift) @ rotary(key, here + shift).mT for shift in (0, 17, 100_000)
    ]
    assert torch.allclose(scores[0], scores[1], atol=1e-12)
    assert torch.allclose(scores[0], scores[2], atol=1e-8)
    assert not torch.allclose(scores[0], query @ key.mT, atol=1e-2)


def test_the_rest_of_a_head_stays_and_position_zero_changes_nothing():
    x = torch.randn(2, 3, 5, 12)
    out = Rotary(8)(x, torch.arange(5))
    assert torch.equal(out[..., 8:], x[..., 8:])
    assert torch.equal(out[..., 0, :], x[..., 0, :])
    assert not torch.equal(out[..., 1, :8], x[..., 1, :8])


def test_every_batch_entry_may_have_positions_of_its_own():
    rotary, x = Rotary(4), torch.randn(2, 3, 5, 4)
    positions = torch.stack([torch.arange(5), torch.arange(5) + 7])
    both = rotary(x, positions)
    for b in range(2):
        assert torch.equal(both[b], rotary(x[b], positions[b]))


@pytest.mark.parametrize(("dim", "base"), [(3, 1e4), (0, 1e4), (4, 0.0), (4, float("nan"))])
def test_a_wrong_rotary_is_refused(dim, base):
    with pytest.raises(ArgumentError, match=r"Rotary: (dim|base) must"):
        Rotary(dim, base=base)


def test_what_rotary_cannot_turn_is_refused():
    with pytest.raises(ShapeError, match="Rotary: x must be"):
        Rotary(8)(torch.zeros(2, 3, 5, 4), torch.arange(5))
    with pytest.raises(ShapeError, match="one position"):
        Rotary(4)(torch.zeros(2, 3, 5, 4), torch.arange(6))
    with pytest.raises(ArgumentError, match="rotary turns 16 features but a head has 8"):
        DotAttention(16, heads=2, rotary=Rotary(16))


# --- A cache -----------------------------------------------------------------------------------


def layer_of(kind):
    if kind == "plain":
        return DotAttention(16, heads=2)
    if kind == "rotary":
        return DotAttention(16, heads=4, kv_heads=2, rotary=Rotary(4))
    return Block(DotAttention(16, heads=2, rotary=Rotary(8)), 16, norm="rms", mlp=MLP(16, 32))


@pytest.mark.parametrize("kind", ["plain", "rotary", "block"])
@pytest.mark.parametrize("steps", [[1] * 9, [4, 1, 1, 3], [9]])
@pytest.mark.parametrize("grad", [True, False])
def test_step_by_step_is_all_at_once(kind, steps, grad):
    torch.manual_seed(0)
    layer, cache = layer_of(kind).double(), KVCache()
    x = torch.randn(2, 9, 16, dtype=torch.float64, requires_grad=grad)
    with torch.set_grad_enabled(grad):
        outs, first = [], 0
        for step in steps:
            last = first + step
            outs.append(layer(x[:, first:last], Causal(step, last), cache=cache))
            first = last
        out, whole = torch.cat(outs, 1), layer(x, Causal(9))
    assert cache.length == 9
    assert torch.allclose(out, whole, atol=1e-12)
    if grad:
        grad_out = torch.randn_like(whole)
        (stepped,), (once,) = (torch.autograd.grad(y, x, grad_out) for y in (out, whole))
        assert torch.allclose(stepped, once, atol=1e-12)


@torch.no_grad()
def test_a_cache_goes_on_with_other_beams():
    layer, x, cache = DotAttention(16, heads=2), torch.randn(3, 6, 16), KVCache()
    for i in range(5):
        layer(x[:, i : i + 1], Causal(1, i + 1), cache=cache)
    beams = torch.tensor([2, 0, 2])
    cache.reorder(beams)
    last = layer(x[beams, 5:], Causal(1, 6), cache=cache)
    assert torch.allclose(last, layer(x[beams], Causal(6))[:, 5:], atol=1e-6)
    KVCache().reorder(beams)  # nothing to reorder yet


@pytest.mark.parametrize("grad", [True, False])
def test_a_memory_is_projected_once_and_then_read_again(grad):
    layer, cache = DotAttention(16, heads=2, source_dim=8).double(), KVCache()
    x = torch.randn(2, 3, 16, dtype=torch.float64, requires_grad=grad)
    memory = torch.randn(2, 7, 8, dtype=torch.float64, requires_grad=grad)
    with torch.set_grad_enabled(grad):
        whole = layer(x, Complete(3, 7), source=memory)
        steps = [
            layer(x[:, i : i + 1], Complete(1, 7), source=memory[:, : 0 if i else 7], cache=cache)
            for i in range(3)
        ]
    assert cache.length == 7
    out = torch.cat(steps, 1)
    assert torch.allclose(out, whole, atol=1e-12)
    if grad:
        grad_out = torch.randn_like(whole)
        (stepped,), (once,) = (torch.autograd.grad(y, memory, grad_out) for y in (out, whole))
        assert torch.allclose(stepped, once, atol=1e-12)


def test_a_cache_of_something_else_is_refused():
    cache = KVCache()
    DotAttention(16, heads=2)(torch.zeros(2, 1, 16), Causal(1), cache=cache)
    with pytest.raises(ShapeError, match="one cache for each layer"):
        DotAttention(16, heads=4)(torch.zeros(2, 1, 16), Causal(1, 2), cache=cache)
    with pytest.raises(ShapeError, match="one cache for each layer"):
        DotAttention(16, heads=2)(torch.zeros(1, 1, 16), Causal(1, 2), cache=cache)


# --- Other settings ----------------------------------------------------------------------------


def test_a_bias_reaches_the_scores():
    layer, x = DotAttention(8, heads=2), torch.randn(7, 8)
    far = RelativeBias(torch.tensor([[-1e9, 0.0, 0.0, -1e9]]), first=-2)  # a window of two
    assert torch.allclose(
        layer(x, Complete(7), score_bias=far), layer(x, Window(7, left=1, right=0)), atol=1e-6
    )


def test_scale_and_source_dim():
    layer = DotAttention(8, heads=2, scale=1.0, source_dim=5)
    plain = DotAttention(8, heads=2, source_dim=5)
    plain.load_state_dict(layer.state_dict())
    x, source = torch.randn(3, 8), torch.randn(4, 5)
    assert not torch.allclose(
        layer(x, Complete(3, 4), source=source), plain(x, Complete(3, 4), source=source)
    )
    with torch.no_grad():
        plain.q_proj.weight *= 2.0
        plain.q_proj.bias *= 2.0
    assert torch.allclose(
        layer(x, Complete(3, 4), source=source),
        plain(x, Complete(3, 4), source=source),
        atol=1e-6,
    )


def test_what_does_not_go_together_is_refused():
    x = torch.zeros(3, 8)
    with pytest.raises(ArgumentError, match="positions were given, but the layer was built"):
        DotAttention(8, heads=2)(x, Complete(3), positions=torch.arange(3))
    with pytest.raises(ArgumentError, match="source was given together with rotary"):
        DotAttention(8, heads=2, rotary=Rotary(4))(x, Complete(3), source=x)


# --- ReZero ------------------------------------------------------------------------------------


def test_rezero_starts_as_the_identity_and_learns():
    mixer = DotAttention(8, heads=2)
    block = Block(mixer, 8, norm=None, order="rezero", mlp=MLP(8, 16))
    x = torch.randn(5, 8)
    out = block(x, Complete(5))
    assert torch.equal(out, x)
    out.square().sum().backward()
    assert float(block.mixer_gate.grad) != 0
    assert float(block.mlp_gate.grad) != 0
    with torch.no_grad():
        block.mixer_gate.fill_(0.5), block.mlp_gate.fill_(2.0)
    y = x + 0.5 * mixer(x, Complete(5))
    assert torch.allclose(block(x, Complete(5)), y + 2.0 * block.mlp(y))
    assert Block(mixer, 8, norm=None, order="rezero").mlp_gate is None


@pytest.mark.parametrize("wrong", [{"norm": "layer"}, {"norm": None, "residual": False}])
def test_rezero_is_a_residual_without_norm(wrong):
    with pytest.raises(ArgumentError, match="order='rezero' is a residual without norm"):
        Block(DotAttention(8, heads=2), 8, order="rezero", **wrong)


def test_the_eps_of_the_norms():
    block = Block(DotAttention(8, heads=2), 8, norm="rms", norm_eps=0.25, mlp=MLP(8, 8))
    assert block.mixer_norm.eps == block.mlp_norm.eps == 0.25
