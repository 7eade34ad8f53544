"""Attention over a graph of your own
==================================

A molecule, caffeine, as a list of its bonds. One call of `edgewise.attention` is one layer of a
graph Transformer; the weights of chosen edges are worked out without a matrix of all pairs.

Run it with::

    python examples/own_graph.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import edgewise as ew

ATOMS = "CNCNCCCONCONCC"  # in the order of the SMILES CN1C=NC2=C1C(=O)N(C(=O)N2C)C
BONDS = ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 1), (5, 6), (6, 7), (6, 8), (8, 9), (9, 10))
BONDS += ((9, 11), (11, 4), (11, 12), (8, 13))


def molecule() -> ew.EdgeList:
    """Bonds in both directions: rows are sources and targets."""
    pairs = torch.tensor([*BONDS, *((b, a) for a, b in BONDS)])
    return ew.EdgeList(pairs.T, num_nodes=len(ATOMS))


def main(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Attend along the bonds, and return the output and the weight of every edge."""
    torch.manual_seed(seed)
    graph = molecule()
    # [batch, heads, nodes, head_dim]
    query, key, value = torch.randn(3, 1, 4, len(ATOMS), 16).unbind()

    state = ew.attention_state(query, key, value, graph)
    edges = ew.edges(graph)
    weights = ew.weights(query, key, graph, state.lse)

    # Weights of all edges of a target add up to one.
    sums = torch.zeros(4, len(ATOMS)).index_add(1, edges.target, weights[0])
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-5)
    print(ew.explain(query, key, value, graph))
    draw(edges, weights[0, 0])
    return state.out, weights


def draw(edges: ew.Edges, weights: Tensor) -> None:
    """The weights of the first head, as a matrix: rows are targets, columns sources."""
    matrix = torch.full((len(ATOMS), len(ATOMS)), float("nan"))
    matrix[edges.target, edges.source] = weights
    plt.figure(figsize=(5, 4.2))
    plt.imshow(matrix.numpy(), cmap="viridis", vmin=0)
    plt.xticks(range(len(ATOMS)), list(ATOMS))
    plt.yticks(range(len(ATOMS)), list(ATOMS))
    plt.xlabel("source")
    plt.ylabel("target")
    plt.colorbar(label="attention weight, head 0")
    plt.tight_layout()
    plt.show()


if __name__ == "__main__":
    main()
