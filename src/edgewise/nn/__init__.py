"""Layers: attention, convolution, blocks and encodings over any graph."""

from edgewise.nn.attention import DotAttention as DotAttention
from edgewise.nn.block import Block as Block
from edgewise.nn.cache import KVCache as KVCache
from edgewise.nn.connectivity import Components as Components, components as components
from edgewise.nn.convolution import GraphConvolution as GraphConvolution
from edgewise.nn.degree import DegreeEncoding as DegreeEncoding, degrees as degrees
from edgewise.nn.dynamic import (
    DynamicConvolution as DynamicConvolution,
    LightweightConvolution as LightweightConvolution,
)
from edgewise.nn.edge_attention import (
    EdgeAttention as EdgeAttention,
    EdgeBlock as EdgeBlock,
    NodesAndEdges as NodesAndEdges,
)
from edgewise.nn.encodings import random_signs as random_signs, sinusoidal as sinusoidal
from edgewise.nn.gat import GATAttention as GATAttention, GATv2Attention as GATv2Attention
from edgewise.nn.gated import GatedConvolution as GatedConvolution
from edgewise.nn.gcn import GCNConvolution as GCNConvolution
from edgewise.nn.gin import GINConvolution as GINConvolution, GINEConvolution as GINEConvolution
from edgewise.nn.gps import GPSBlock as GPSBlock
from edgewise.nn.graph_network import (
    GraphFeatures as GraphFeatures,
    GraphNetwork as GraphNetwork,
)
from edgewise.nn.laplacian import laplacian_eigenvectors as laplacian_eigenvectors
from edgewise.nn.learned_positions import LearnedPositions as LearnedPositions
from edgewise.nn.mlp import MLP as MLP
from edgewise.nn.monet import (
    MoNetConvolution as MoNetConvolution,
    degree_coordinates as degree_coordinates,
)
from edgewise.nn.norm import BatchNorm as BatchNorm
from edgewise.nn.paths import (
    shortest_path_edges as shortest_path_edges,
    shortest_paths as shortest_paths,
)
from edgewise.nn.position_bias import T5RelativeBias as T5RelativeBias, alibi as alibi
from edgewise.nn.rotary import Rotary as Rotary
from edgewise.nn.spatial_bias import PathBias as PathBias, SpatialBias as SpatialBias
from edgewise.nn.transformer_convolution import TransformerConvolution as TransformerConvolution
from edgewise.nn.tree_lstm import (
    ChildSumTreeLSTM as ChildSumTreeLSTM,
    NaryTreeLSTM as NaryTreeLSTM,
)
from edgewise.nn.walks import random_walk as random_walk
