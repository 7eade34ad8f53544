"""Named architectures, each a short setting of `edgewise.nn`."""

from edgewise.models.checkpoint import (
    load_weights as load_weights,
    save_weights as save_weights,
)
from edgewise.models.graph.exphormer import (
    Exphormer as Exphormer,
    exphormer_graph as exphormer_graph,
)
from edgewise.models.graph.gnn import GNN as GNN, convolution_named as convolution_named
from edgewise.models.graph.gps import GPS as GPS
from edgewise.models.graph.graph_transformer import GraphTransformer as GraphTransformer
from edgewise.models.graph.graphormer import Graphormer as Graphormer
from edgewise.models.graph.pointwise import Pointwise as Pointwise
from edgewise.models.graph.predictor import GraphModel as GraphModel, NodeModel as NodeModel
from edgewise.models.graph.sparse_dropout import FeatureDropout as FeatureDropout
from edgewise.models.graph.trunk import Trunk as Trunk
from edgewise.models.graph.two_layer import (
    GAT as GAT,
    GCN as GCN,
    Perceptron as Perceptron,
    TwoLayers as TwoLayers,
)
from edgewise.models.sequence.convolutional import Convolutional as Convolutional
from edgewise.models.sequence.recurrent import Recurrent as Recurrent
from edgewise.models.sequence.tree_classifier import TreeClassifier as TreeClassifier
from edgewise.models.sequence.word_embedding import (
    WordEmbedding as WordEmbedding,
    WordModel as WordModel,
)
from edgewise.models.transformers.decoder import Decoder as Decoder
from edgewise.models.transformers.encoder import Encoder as Encoder
from edgewise.models.transformers.encoder_decoder import (
    EncoderDecoder as EncoderDecoder,
    transformer as transformer,
)
from edgewise.models.transformers.gpt2_llama import gpt2 as gpt2, llama as llama
from edgewise.models.transformers.language_model import LanguageModel as LanguageModel
from edgewise.models.transformers.text_encoder import TextEncoder as TextEncoder, bert as bert
from edgewise.models.transformers.token_embedding import (
    TokenEmbedding as TokenEmbedding,
    positions_within as positions_within,
)
from edgewise.models.transformers.transformer_block import transformer_block as transformer_block
from edgewise.models.transformers.vision_transformer import (
    VisionTransformer as VisionTransformer,
    vit as vit,
    with_class_token as with_class_token,
)
