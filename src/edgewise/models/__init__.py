"""Named architectures, each a short setting of `edgewise.nn`."""

from edgewise.models.checkpoint import (
    load_weights as load_weights,
    save_weights as save_weights,
)
from edgewise.models.citation import (
    GAT as GAT,
    GCN as GCN,
    Perceptron as Perceptron,
    TwoLayers as TwoLayers,
)
from edgewise.models.convolutional import Convolutional as Convolutional
from edgewise.models.decoder import Decoder as Decoder
from edgewise.models.decoder_only import gpt2 as gpt2, llama as llama
from edgewise.models.dropout import FeatureDropout as FeatureDropout
from edgewise.models.embedding import (
    TokenEmbedding as TokenEmbedding,
    positions_within as positions_within,
)
from edgewise.models.encoder import Encoder as Encoder
from edgewise.models.exphormer import (
    Exphormer as Exphormer,
    exphormer_graph as exphormer_graph,
)
from edgewise.models.gnn import GNN as GNN, convolution_named as convolution_named
from edgewise.models.gps import GPS as GPS
from edgewise.models.graph_transformer import GraphTransformer as GraphTransformer
from edgewise.models.graphormer import Graphormer as Graphormer
from edgewise.models.language import LanguageModel as LanguageModel
from edgewise.models.pointwise import Pointwise as Pointwise
from edgewise.models.predictor import GraphModel as GraphModel, NodeModel as NodeModel
from edgewise.models.recurrent import Recurrent as Recurrent
from edgewise.models.seq2seq import EncoderDecoder as EncoderDecoder, transformer as transformer
from edgewise.models.text import TextEncoder as TextEncoder, bert as bert
from edgewise.models.transformer import transformer_block as transformer_block
from edgewise.models.tree import TreeClassifier as TreeClassifier
from edgewise.models.trunk import Trunk as Trunk
from edgewise.models.vision import (
    VisionTransformer as VisionTransformer,
    vit as vit,
    with_class_token as with_class_token,
)
from edgewise.models.words import WordModel as WordModel, Words as Words
