"""A GPS network on molecules
==========================

The network of PyTorch Geometric's example. Messages go along bonds, and every atom attends to all
atoms of its molecule: without padding. One line differs from a script for PyTorch Geometric: where
the layers come from.

Run it with::

    EDGEWISE_DATA=shared/data python examples/pyg_gps.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import global_add_pool

from edgewise.integrations.pyg import GINConv, GPSConv  # from torch_geometric.nn import ...
from edgewise.training import load


class GPS(nn.Module):
    """A few GPS layers and a sum over the atoms."""

    def __init__(self, in_channels: int, channels: int, layers: int, heads: int) -> None:
        super().__init__()
        self.lift = nn.Linear(in_channels, channels)
        self.layers = nn.ModuleList(
            GPSConv(channels, GINConv(self.perceptron(channels)), heads=heads, dropout=0.1)
            for _ in range(layers)
        )
        self.readout = nn.Linear(channels, 1)

    @staticmethod
    def perceptron(channels: int) -> nn.Module:
        """What GIN applies to every node."""
        return nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels)
        )

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        x = self.lift(x)
        for layer in self.layers:
            x = layer(x, edge_index, batch)
        return self.readout(global_add_pool(x, batch))[:, 0]


def molecules(count: int) -> list[Data]:
    """The first molecules of ESOL, with their solubility in water."""
    dataset = load("esol")
    nodes, edges = dataset.topology.node_ptr.tolist(), dataset.topology.edge_ptr.tolist()
    return [
        Data(
            x=dataset.x[nodes[n] : nodes[n + 1]],
            edge_index=dataset.topology.edge_index[:, edges[n] : edges[n + 1]],
            y=dataset.y[n : n + 1],
        )
        for n in range(count)
    ]


def main(epochs: int = 20, count: int = 256, seed: int = 0) -> list[float]:
    """Train, and return the loss of every step."""
    torch.manual_seed(seed)
    graphs = molecules(count)
    model = GPS(graphs[0].num_features, channels=32, layers=3, heads=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(epochs):
        order = torch.randperm(count).tolist()
        for start in range(0, count, 64):
            batch = Batch.from_data_list([graphs[n] for n in order[start : start + 64]])
            optimizer.zero_grad()
            loss = F.mse_loss(model(batch.x, batch.edge_index, batch.batch), batch.y)
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
