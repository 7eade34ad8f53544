"""Edgewise under Hugging Face's Transformers: any conforming model, on any graph.

``use(model)`` computes a model's attention with Edgewise: padding is never computed, and windows
cost what they hold. ``with graph(rule):`` runs a pretrained model on a graph of your choice.
"""

from edgewise.integrations.huggingface.batch import (
    BatchGraph as BatchGraph,
    Layout as Layout,
    batch_graph as batch_graph,
)
from edgewise.integrations.huggingface.convert import (
    Unpadded as Unpadded,
    convert as convert,
    unpadded as unpadded,
)
from edgewise.integrations.huggingface.interface import register as register, use as use
from edgewise.integrations.huggingface.patterns import Pattern as Pattern
from edgewise.integrations.huggingface.rules import Rule as Rule, graph as graph
from edgewise.integrations.huggingface.weights import (
    LayerWeights as LayerWeights,
    weights as weights,
)
