"""Tables of names: there and back, with gradients, and no weight forgotten in silence."""

import pytest
import torch

from edgewise.errors import ArgumentError
from edgewise.integrations.names.table import Name, to_edgewise, to_original, within

BLOCK = (
    Name(("q_proj", "k_proj"), "qk", turned=True),
    Name(("out_proj",), "out"),
    Name(("token",), "cls", axes=2),
    Name(("a.weight", "b.weight"), "stacked"),
)


def ours():
    return {
        "q_proj.weight": torch.randn(2, 3),
        "q_proj.bias": torch.randn(2),
        "k_proj.weight": torch.randn(2, 3),
        "k_proj.bias": torch.randn(2),
        "out_proj.weight": torch.randn(3, 4),
        "token": torch.randn(3),
        "a.weight": torch.randn(1, 5),
        "b.weight": torch.randn(1, 5),
    }


def test_there_and_back():
    weights = ours()
    theirs = to_original(weights, BLOCK)
    assert {name: list(tensor.shape) for name, tensor in theirs.items()} == {
        "qk.weight": [3, 4],
        "qk.bias": [4],
        "out.weight": [3, 4],
        "cls": [1, 1, 3],
        "stacked": [2, 5],
    }
    assert torch.equal(theirs["qk.weight"][:, 2:].mT, weights["k_proj.weight"])
    back = to_edgewise(theirs, BLOCK)
    assert set(back) == set(weights)
    assert all(torch.equal(back[name], tensor) for name, tensor in weights.items())


def test_layers_are_counted_and_kept_apart():
    table = within(BLOCK[1:2], "blocks.{i}.", "layer.{i}.x.")
    weights = {f"blocks.{i}.out_proj.weight": torch.full((1,), float(i)) for i in (0, 3, 11)}
    theirs = to_original(weights, table)
    assert {name: tensor.item() for name, tensor in theirs.items()} == {
        "layer.0.x.out.weight": 0.0,
        "layer.3.x.out.weight": 3.0,
        "layer.11.x.out.weight": 11.0,
    }
    assert set(to_edgewise(theirs, table)) == set(weights)


def test_gradients_go_through():
    weights = {name: tensor.requires_grad_() for name, tensor in ours().items()}
    loss = sum(tensor.square().sum() for tensor in to_original(weights, BLOCK).values())
    loss.backward()
    for tensor in weights.values():
        torch.testing.assert_close(tensor.grad, 2 * tensor.detach())


@pytest.mark.parametrize("turn", [to_original, to_edgewise])
def test_a_weight_without_a_name_is_refused(turn):
    with pytest.raises(ArgumentError, match=r"weights: extra is not in the table of names\."):
        turn({"extra": torch.ones(1)}, BLOCK)
    two = {"extra": torch.ones(1), "out_projx.weight": torch.ones(1)}
    with pytest.raises(ArgumentError, match="extra is not in the table of names, nor are 1 others"):
        turn(two, BLOCK)


def test_half_of_what_theirs_holds_is_refused():
    weights = ours()
    del weights["k_proj.bias"]
    with pytest.raises(ArgumentError, match=r"q_proj\.bias is there but k_proj\.bias is not"):
        to_original(weights, BLOCK)
