"""Ladder: steps from a plain GNN to a Transformer, each a setting of the same block."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STEPS", "Step"]


@dataclass(frozen=True)
class Step:
    """A step of the ladder: a layer as an equation and as code.

    Attributes:
        name: Name of the step in claims.
        title: Short description.
        change: Difference to the step before.
        equation: LaTeX.
        setting: The layer as code: an expression that can be evaluated, and then called as
            ``layer(x, graph)``; empty if the step is not a single layer.
        graph: The graph as code, for six nodes.
    """

    name: str
    title: str
    change: str
    equation: str
    setting: str = ""
    graph: str = ""


_RING = "EdgeList([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]], num_nodes=6)"

# The sections of the page on the ladder, each with the names of the claims that prove it.
STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step(
            "message passing",
            "Message passing",
            "A node sums the messages of its neighbors, all with the same weight.",
            r"h_i' = \phi\Big(U h_i + \bigoplus_{j \in N(i)} V h_j\Big)",
            'GraphConvolution(16, 16, reduce="sum", activation="relu")',
            _RING,
        ),
        Step(
            "attention",
            "Attention over neighbors",
            "A weighted sum: two numbers, of target and source, give the weight of an edge.",
            r"h_i' = \sum_{j \in N(i)} w_{ij} W h_j, \quad w_{ij} = \mathrm{softmax}_j\,"
            r"\mathrm{LeakyReLU}(a^\top W h_i + b^\top W h_j)",
            "GATAttention(16, 16, heads=1)",
            f"{_RING} | SelfLoops(6)",
        ),
        Step(
            "heads",
            "Many heads, and a dot product",
            "Several weighted sums side by side, each with separate queries and keys.",
            r"h_i' = W_O \big\Vert_h \sum_{j \in N(i)} w_{ij}^h W_V^h h_j, \quad w_{ij}^h ="
            r" \mathrm{softmax}_j\, (W_Q^h h_i)^\top (W_K^h h_j) / \sqrt{D}",
            "DotAttention(16, heads=4)",
            f"{_RING} | SelfLoops(6)",
        ),
        Step(
            "block",
            "Norm, residual and MLP: a graph Transformer",
            "The same attention inside a block: a residual connection, and an MLP at every node.",
            r"x \leftarrow x + \mathrm{attention}(\mathrm{norm}(x), G), \quad"
            r" x \leftarrow x + \mathrm{mlp}(\mathrm{norm}(x))",
            "Block(DotAttention(16, heads=4), 16, mlp=MLP(16, 64))",
            f"{_RING} | SelfLoops(6)",
        ),
        Step(
            "transformer",
            "The complete graph: a Transformer encoder",
            "Only the graph: now every node reads every node.",
            r"N(i) = \{1, \dots, n\}",
            "Block(DotAttention(16, heads=4), 16, mlp=MLP(16, 64))",
            "Complete(6)",
        ),
        Step(
            "language model",
            "The causal graph: a language model",
            "Only the graph: now every node reads the nodes before it, and itself.",
            r"N(i) = \{j : j \le i\}",
            "Block(DotAttention(16, heads=4), 16, mlp=MLP(16, 64))",
            "Causal(6)",
        ),
        Step(
            "positions",
            "Positions of nodes",
            "Attention reads a set: encodings of nodes, or biases of pairs, give positions.",
            r"x_i \leftarrow x_i + p_i \quad \text{or} \quad s_{ij} \leftarrow s_{ij} + b_{ij}"
            r" \quad \text{or} \quad q_i^\top R_{j - i} k_j",
        ),
        Step(
            "baselines",
            "Without pairs",
            "Layers over the same graphs whose weights do not come from pairs of nodes.",
            r"h_i' = \sum_{j \in N(i)} w_{j - i}\, h_j \quad"
            r" \text{or a recurrence along the graph}",
            "LightweightConvolution(16, heads=4, kernel=3)",
            "Window(6, left=1, right=1)",
        ),
        Step(
            "laws",
            "What follows from the graph",
            "True of every step, whatever its weights.",
            r"f(\pi x, \pi G) = \pi f(x, G), \qquad"
            r" \partial h_i^{(L)} / \partial x_j = 0 \text{ beyond } L \text{ hops}",
        ),
    )
}
