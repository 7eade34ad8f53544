"""Hugging Face Transformers with the attention of Edgewise: any conforming model, on any graph.

``use(model)`` computes a model's attention with Edgewise: padded keys are never read, and windows
cost what they hold. ``with graph(rule):`` runs a pretrained model on a graph of your choice.
Importing this package registers ``attn_implementation="edgewise"``.
"""

from edgewise.integrations.huggingface.active import graph as graph
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
from edgewise.integrations.huggingface.explaining import (
    LayerExplanation as LayerExplanation,
    explain as explain,
)
from edgewise.integrations.huggingface.graph_rules import Rule as Rule
from edgewise.integrations.huggingface.layer_weights import (
    LayerWeights as LayerWeights,
    weights as weights,
)
from edgewise.integrations.huggingface.patterns import Pattern as Pattern
from edgewise.integrations.huggingface.prepare import use as use
from edgewise.integrations.huggingface.registration import (
    register as register,
    register_on_import,
)

register_on_import()
