"""A model of PyTorch Geometric, accelerated in place
==================================================

A model as it is, and one line that lets Edgewise compute its layers.

Run it with::

    EDGEWISE_DATA=shared/data python examples/pyg_accelerate.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv, TransformerConv

from edgewise.integrations.pyg import accelerate
from edgewise.training import load


class Net(nn.Module):
    """A mean over neighbors, then attention to them."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = SAGEConv(in_channels, 32)
        self.second = TransformerConv(32, out_channels, heads=4, concat=False)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(self.first(x, edge_index).relu(), p=0.5, training=self.training)
        return self.second(x, edge_index)


def main(epochs: int = 50, seed: int = 0) -> list[float]:
    """Train, and return the loss of every step."""
    torch.manual_seed(seed)
    data = load("cora")
    edge_index, train = data.topology.edge_index, data.split(0).train
    model = Net(data.x.shape[1], data.num_classes)
    print(accelerate(model))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    losses = []
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(data.x, edge_index)[train], data.y[train])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


if __name__ == "__main__":
    losses = main()
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    plt.figure(figsize=(6, 3))
    plt.plot(losses)
    plt.xlabel("step")
    plt.ylabel("loss")
    plt.tight_layout()
    plt.show()
