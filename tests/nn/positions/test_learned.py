"""Learned positions: a table, and a sentence beyond its end."""

import pytest
import torch
from torch import nn

from edgewise.errors import ArgumentError
from edgewise.nn import LearnedPositions


def test_they_are_the_rows_of_the_table(dtype):
    table = LearnedPositions(9, 4).to(dtype)
    assert torch.equal(table(5), table.weight[:5])
    assert table(0).shape == (0, 4)
    assert table(9).shape == (9, 4)
    positions = torch.tensor([[8, 0, 3], [3, 3, 1]])
    assert torch.equal(table(positions), table.weight[positions])
    assert table(positions[:, :0]).shape == (2, 0, 4)
    assert table(positions.int().T).shape == (3, 2, 4)  # not contiguous
    assert list(table.state_dict()) == ["weight"]


def test_they_learn_as_an_embedding_does(same_layer):
    table, original = LearnedPositions(9, 4).double(), nn.Embedding(9, 4).double()
    original.load_state_dict(table.state_dict())
    positions = torch.tensor([[8, 0, 3], [3, 3, 1]])
    same_layer(table(positions), original(positions), [], [(table.weight, original.weight)])
    first = torch.arange(6)
    same_layer(table(6), original(first), [], [(table.weight, original.weight)])


def test_beyond_the_last_position_is_a_sentence():
    table = LearnedPositions(9, 4)
    with pytest.raises(ArgumentError, match=r"positions 0 to 8, got 10 nodes\. Build it with a la"):
        table(10)
    with pytest.raises(ArgumentError, match="positions 0 to 8, got position 9"):
        table(torch.tensor([3, 9]))
    with pytest.raises(ArgumentError, match="got position -1"):
        table(torch.tensor([-1, 2]))
    with pytest.raises(ArgumentError, match=r"whole numbers, got torch\.float32\. Use sinusoidal"):
        table(torch.rand(3))
    with pytest.raises(ArgumentError, match="positions must be at least 0, got -2"):
        table(-2)
    with pytest.raises(ArgumentError, match="max_nodes must be at least 1, got 0"):
        LearnedPositions(0, 4)
    with pytest.raises(ArgumentError, match="dim must be at least 1, got 0"):
        LearnedPositions(4, 0)


def test_they_start_small_and_compile():
    table = LearnedPositions(500, 100)
    assert abs(float(table.weight.detach().std()) - 0.02) < 1e-3
    assert repr(table) == "LearnedPositions(500, 100)"
    positions = torch.arange(7)
    compiled = torch.compile(table, backend="eager", fullgraph=True)
    assert torch.equal(compiled(positions), table(positions))
