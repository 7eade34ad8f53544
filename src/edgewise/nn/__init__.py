"""Layers: attention, convolution, blocks and encodings over any graph."""

from edgewise.nn.attention import DotAttention as DotAttention
from edgewise.nn.block import Block as Block
from edgewise.nn.cache import KVCache as KVCache
from edgewise.nn.connectivity import Components as Components, components as components
from edgewise.nn.convolution import (
    GCNConvolution as GCNConvolution,
    GraphConvolution as GraphConvolution,
)
from edgewise.nn.dynamic import (
    DynamicConvolution as DynamicConvolution,
    LightweightConvolution as LightweightConvolution,
)
from edgewise.nn.encodings import (
    random_signs as random_signs,
    random_walk as random_walk,
    sinusoidal as sinusoidal,
)
from edgewise.nn.gat import GATAttention as GATAttention, GATv2Attention as GATv2Attention
from edgewise.nn.gated import GatedConvolution as GatedConvolution
from edgewise.nn.laplacian import laplacian_eigenvectors as laplacian_eigenvectors
from edgewise.nn.mlp import MLP as MLP
from edgewise.nn.norm import BatchNorm as BatchNorm
from edgewise.nn.rotary import Rotary as Rotary
from edgewise.nn.tree_lstm import (
    ChildSumTreeLSTM as ChildSumTreeLSTM,
    NaryTreeLSTM as NaryTreeLSTM,
)
