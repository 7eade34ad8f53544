"""What the tests of models share: small models by name, and the folder of real data."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from edgewise.graphs import EdgeList
from edgewise.models import bert, gpt2, llama, transformer, vit


def _tokens(*sizes):
    return tuple(torch.randint(31, (2, size)) for size in sizes)


# A small one of each model, and what it is called with.
SMALL = {
    "bert": (
        lambda: bert(31, dim=16, heads=4, layers=2, max_positions=24, dropout=0.0),
        lambda: _tokens(7),
    ),
    "gpt2": (
        lambda: gpt2(31, dim=16, heads=4, layers=2, max_positions=24, dropout=0.0),
        lambda: _tokens(7),
    ),
    "llama": (
        lambda: llama(31, dim=16, heads=4, kv_heads=2, layers=2, hidden=40),
        lambda: _tokens(7),
    ),
    "transformer": (
        lambda: transformer(31, dim=16, heads=4, layers=2, dropout=0.0),
        lambda: _tokens(7, 5),
    ),
    "vit": (
        lambda: vit(5, dim=16, heads=4, layers=2, image_size=8, patch_size=2, channels=1),
        lambda: (torch.randn(2, 1, 8, 8),),
    ),
}


@pytest.fixture(params=SMALL)
def small(request: pytest.FixtureRequest):
    """How to build a small model, and what to call it with."""
    return SMALL[request.param]


@pytest.fixture
def tied():
    """How to build a small model with a weight of two names."""
    return SMALL["gpt2"][0]


@pytest.fixture(scope="session")
def data_root() -> Path:
    root = os.environ.get("EDGEWISE_DATA")
    if not root:
        pytest.skip("EDGEWISE_DATA names no folder with the real data sets")
    return Path(root)


@pytest.fixture
def graph() -> EdgeList:
    """In-degrees from 0 up, unsorted edges, one of them twice."""
    torch.manual_seed(0)
    N = 9
    dense = torch.rand(N, N) < torch.linspace(0, 0.6, N)[:, None]
    target, source = dense.nonzero(as_tuple=True)
    order = torch.randperm(len(target))
    pairs = torch.stack([source, target])[:, order]
    return EdgeList(torch.cat([pairs, pairs[:, :1]], 1), num_nodes=N)


@pytest.fixture
def away() -> Callable[[nn.Module], nn.Module]:
    """Move the weights away from where they start: no bias is zero, no softmax flat."""

    def moved(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.3 * torch.randn_like(weight))
        return model

    return moved
