"""Edgewise under Hugging Face's Transformers: any conforming model, on any graph.

``use(model)`` computes a model's attention with Edgewise: padding is never computed, and windows
cost what they hold. ``with graph(rule):`` runs a pretrained model on a graph of your choice.
"""

from edgewise.integrations.huggingface.batch import (
    BatchGraph as BatchGraph,
    Layout as Layout,
    batch_graph as batch_graph,
)
from edgewise.integrations.huggingface.interface import register as register, use as use
from edgewise.integrations.huggingface.patterns import Pattern as Pattern
from edgewise.integrations.huggingface.rules import Rule as Rule, graph as graph
