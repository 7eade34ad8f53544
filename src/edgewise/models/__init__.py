"""Named architectures, each a short setting of `edgewise.nn`."""

from edgewise.models.citation import (
    GAT as GAT,
    GCN as GCN,
    Perceptron as Perceptron,
    TwoLayers as TwoLayers,
)
from edgewise.models.convolutional import Convolutional as Convolutional
from edgewise.models.dropout import FeatureDropout as FeatureDropout
from edgewise.models.pointwise import Pointwise as Pointwise
from edgewise.models.predictor import GraphModel as GraphModel, NodeModel as NodeModel
from edgewise.models.recurrent import Recurrent as Recurrent
from edgewise.models.tree import TreeClassifier as TreeClassifier
from edgewise.models.trunk import Trunk as Trunk
from edgewise.models.words import WordModel as WordModel, Words as Words
