"""What the tests of models share: small models by name, and the folder of real data."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from edgewise.graphs import EdgeList
from edgewise.models import bert, gpt2, llama, transformer, vit

SMALL = {
    "bert": lambda: bert(31, dim=16, heads=4, layers=2, max_positions=24, dropout=0.0),
    "gpt2": lambda: gpt2(31, dim=16, heads=4, layers=2, max_positions=24, dropout=0.0),
    "llama": lambda: llama(31, dim=16, heads=4, kv_heads=2, layers=2, hidden=40),
    "transformer": lambda: transformer(31, dim=16, heads=4, layers=2, dropout=0.0),
    "vit": lambda: vit(5, dim=16, heads=4, layers=2, image_size=8, patch_size=2, channels=1),
}
INPUTS = {
    "bert": lambda: (torch.randint(31, (2, 7)),),
    "gpt2": lambda: (torch.randint(31, (2, 7)),),
    "llama": lambda: (torch.randint(31, (2, 7)),),
    "transformer": lambda: (torch.randint(31, (2, 7)), torch.randint(31, (2, 5))),
    "vit": lambda: (torch.randn(2, 1, 8, 8),),
}


@pytest.fixture(params=SMALL)
def small(request: pytest.FixtureRequest) -> str:
    """The name of one of the small models."""
    return request.param


@pytest.fixture
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
