"""A graph attention network on Cora
=================================

The network of PyTorch Geometric's example. One line differs from a script for PyTorch Geometric:
where `GATConv` comes from.

Run it with::

    EDGEWISE_DATA=shared/data python examples/pyg_gat.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from edgewise.integrations.pyg import GATConv  # from torch_geometric.nn import GATConv
from edgewise.training import load


class GAT(nn.Module):
    """Two layers of attention; dropout of features, not of attention weights."""

    def __init__(self, in_channels: int, hidden: int, out_channels: int, heads: int) -> None:
        super().__init__()
        self.first = GATConv(in_channels, hidden, heads)
        self.second = GATConv(hidden * heads, out_channels, heads=1, concat=False)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(x, p=0.6, training=self.training)
        x = F.elu(self.first(x, edge_index))
        x = F.dropout(x, p=0.6, training=self.training)
        return self.second(x, edge_index)


def cora() -> Data:
    """Cora with its public split."""
    dataset = load("cora")
    split = dataset.split(0)
    data = Data(x=dataset.x, y=dataset.y, edge_index=dataset.topology.edge_index)
    data.train_mask, data.test_mask = (
        torch.zeros(dataset.x.shape[0], dtype=torch.bool).index_fill(0, nodes, True)
        for nodes in (split.train, split.test)
    )
    return data


def main(epochs: int = 100, seed: int = 0) -> tuple[list[float], float]:
    """Train, and return the loss of every step and the accuracy on the test nodes."""
    torch.manual_seed(seed)
    data = cora()
    model = GAT(data.num_features, 8, int(data.y.max()) + 1, heads=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005, weight_decay=5e-4)
    losses = []
    for _ in range(epochs):
        optimizer.zero_grad()
        out = model(data.x, data.edge_index)
        loss = F.cross_entropy(out[data.train_mask], data.y[data.train_mask])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    model.eval()
    with torch.no_grad():
        right = model(data.x, data.edge_index).argmax(-1) == data.y
    return losses, float(right[data.test_mask].float().mean())


if __name__ == "__main__":
    losses, accuracy = main()
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, test accuracy {accuracy:.1%}")
    plt.figure(figsize=(6, 3))
    plt.plot(losses)
    plt.xlabel("step")
    plt.ylabel("loss")
    plt.tight_layout()
    plt.show()
