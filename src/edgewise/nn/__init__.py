"""Layers: attention, convolution, blocks and encodings over any graph."""

from edgewise.nn.attention.dot import DotAttention as DotAttention
from edgewise.nn.attention.edge import (
    EdgeAttention as EdgeAttention,
    EdgeBlock as EdgeBlock,
    NodesAndEdges as NodesAndEdges,
)
from edgewise.nn.attention.gat import GATAttention as GATAttention, GATv2Attention as GATv2Attention
from edgewise.nn.attention.kv_cache import KVCache as KVCache
from edgewise.nn.attention.transformer_convolution import (
    TransformerConvolution as TransformerConvolution,
)
from edgewise.nn.blocks.block import Block as Block
from edgewise.nn.blocks.gps_block import GPSBlock as GPSBlock
from edgewise.nn.blocks.graph_network import (
    GraphFeatures as GraphFeatures,
    GraphNetwork as GraphNetwork,
)
from edgewise.nn.blocks.mlp import MLP as MLP
from edgewise.nn.blocks.norm import BatchNorm as BatchNorm
from edgewise.nn.convolution.gated import GatedConvolution as GatedConvolution
from edgewise.nn.convolution.gcn import GCNConvolution as GCNConvolution
from edgewise.nn.convolution.gin import (
    GINConvolution as GINConvolution,
    GINEConvolution as GINEConvolution,
)
from edgewise.nn.convolution.lightweight import (
    DynamicConvolution as DynamicConvolution,
    LightweightConvolution as LightweightConvolution,
)
from edgewise.nn.convolution.message_passing import GraphConvolution as GraphConvolution
from edgewise.nn.convolution.monet import (
    MoNetConvolution as MoNetConvolution,
    degree_coordinates as degree_coordinates,
)
from edgewise.nn.positions.components import Components as Components, components as components
from edgewise.nn.positions.degree import DegreeEncoding as DegreeEncoding, degrees as degrees
from edgewise.nn.positions.distance_bias import T5RelativeBias as T5RelativeBias, alibi as alibi
from edgewise.nn.positions.graphormer_bias import PathBias as PathBias, SpatialBias as SpatialBias
from edgewise.nn.positions.laplacian import laplacian_eigenvectors as laplacian_eigenvectors
from edgewise.nn.positions.learned import LearnedPositions as LearnedPositions
from edgewise.nn.positions.random_walk import random_walk as random_walk
from edgewise.nn.positions.rotary import Rotary as Rotary
from edgewise.nn.positions.shortest_path import (
    shortest_path_edges as shortest_path_edges,
    shortest_paths as shortest_paths,
)
from edgewise.nn.positions.sinusoidal import random_signs as random_signs, sinusoidal as sinusoidal
from edgewise.nn.recurrent.tree_lstm import (
    ChildSumTreeLSTM as ChildSumTreeLSTM,
    NaryTreeLSTM as NaryTreeLSTM,
)
