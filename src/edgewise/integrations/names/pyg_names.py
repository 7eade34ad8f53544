"""Names of weights in PyTorch Geometric."""

from __future__ import annotations

from edgewise.integrations.names.table import Name, within

__all__ = [
    "GAT",
    "GATV2",
    "GCN",
    "GIN",
    "GIN_SEQUENCE",
    "GPS",
    "GRAPH_CONVOLUTION",
    "MONET",
    "SAGE",
    "TRANSFORMER",
    "gnn_names",
    "gps_names",
]

# `GCNConvolution` and `GCNConv`.
GCN = (Name(("weight",), "lin.weight"), Name(("bias",), "bias"))

# `GraphConvolution` and `GraphConv`.
GRAPH_CONVOLUTION = (
    Name(("neighbor_proj.weight",), "lin_rel.weight"),
    Name(("self_proj.bias",), "lin_rel.bias"),
    Name(("self_proj.weight",), "lin_root.weight"),
)

# `GraphConvolution` and `SAGEConv`.
SAGE = (
    Name(("neighbor_proj.weight",), "lin_l.weight"),
    Name(("self_proj.bias",), "lin_l.bias"),
    Name(("self_proj.weight",), "lin_r.weight"),
    Name(("pool_proj",), "lin"),
)

_ISOMORPHISM = (Name(("edge_proj",), "lin"), Name(("eps",), "eps", axes=1))

# `GINConvolution` or `GINEConvolution`, and `GINConv` or `GINEConv`: an `MLP` in Edgewise;
# linear, ReLU and linear in PyG.
GIN = (Name(("mlp.up_proj",), "nn.0"), Name(("mlp.down_proj",), "nn.2"), *_ISOMORPHISM)

# The same where both have the same sequence of modules.
GIN_SEQUENCE = (Name(("mlp.{i}",), "nn.{i}"), *_ISOMORPHISM)

# `MoNetConvolution` and `GMMConv`, without kernels for each pair of features.
MONET = (
    Name(("kernel_proj.weight",), "g", turned=True),
    Name(("mu",), "mu"),
    Name(("sigma",), "sigma"),
    Name(("root_proj",), "root"),
    Name(("bias",), "bias"),
)

# `GATAttention` and `GATConv`.
GAT = (
    Name(("proj",), "lin"),
    Name(("a_source",), "att_src", axes=1),
    Name(("a_target",), "att_dst", axes=1),
    Name(("edge_proj",), "lin_edge"),
    Name(("a_edge",), "att_edge", axes=1),
    Name(("bias",), "bias"),
)

# `GATv2Attention` and `GATv2Conv`.
GATV2 = (
    Name(("source_proj",), "lin_l"),
    Name(("target_proj",), "lin_r"),
    Name(("edge_proj",), "lin_edge"),
    Name(("a",), "att", axes=1),
    Name(("bias",), "bias"),
)

# `TransformerConvolution` and `TransformerConv`.
TRANSFORMER = (
    Name(("q_proj",), "lin_query"),
    Name(("k_proj",), "lin_key"),
    Name(("v_proj",), "lin_value"),
    Name(("edge_proj",), "lin_edge"),
    Name(("root_proj",), "lin_skip"),
    Name(("beta_proj",), "lin_beta"),
)

# `GPSBlock` of graph isomorphism and `DotAttention`, and `GPSConv` of `GINConv` or `GINEConv`.
GPS = (
    *within(GIN, "local.mixer.", "conv."),
    *(
        Name(tuple(f"attention.mixer.{each}_proj.{part}" for each in "qkv"), f"attn.in_proj_{part}")
        for part in ("weight", "bias")
    ),
    Name(("attention.mixer.out_proj",), "attn.out_proj"),
    Name(("mlp.up_proj",), "mlp.0"),
    Name(("mlp.down_proj",), "mlp.3"),
    Name(("local.mixer_norm",), "norm1.module"),
    Name(("attention.mixer_norm",), "norm2.module"),
    Name(("mlp_norm",), "norm3.module"),
)


def gnn_names(convolution: tuple[Name, ...], layers: int) -> tuple[Name, ...]:
    """`NodeModel` of a `GNN`, and PyG's stack of as many layers with ``jk="last"``.

    Args:
        convolution: The table of one of its layers; for `GIN` that of the MLP of the stack is used.
        layers: Number of layers.

    Example:
        >>> [name.original for name in gnn_names(GCN, layers=1)]
        ['convs.0.lin.weight', 'convs.0.bias', 'norms.{i}.module', 'lin']
    """
    if convolution is GIN:
        convolution = (
            Name(("mlp.0",), "nn.lins.0"),
            Name(("mlp.1",), "nn.norms.0.module"),
            Name(("mlp.3",), "nn.lins.1"),
        )
    return (
        *(
            name
            for layer in range(layers)
            for name in within(convolution, f"trunk.convolutions.{layer}.", f"convs.{layer}.")
        ),
        Name(("trunk.norms.{i}",), "norms.{i}.module"),
        Name(("head",), "lin"),
    )


def gps_names(layers: int) -> tuple[Name, ...]:
    """The blocks of `edgewise.models.GPS`, and a list of as many layers of PyG.

    Example:
        >>> gps_names(layers=2)[-1].original
        '1.norm3.module'
    """
    return tuple(
        name for layer in range(layers) for name in within(GPS, f"blocks.{layer}.", f"{layer}.")
    )
