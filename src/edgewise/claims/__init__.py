"""Claims: pairs of computations that are equal, which ``edgewise check`` compares.

A new claim is one function that returns `Sides`, and one line in its family's tuple.
"""

from edgewise.claims.claim import BOUNDS as BOUNDS, Claim as Claim, Sides as Sides
from edgewise.claims.equations.baselines import BASELINES
from edgewise.claims.equations.graph_models import GRAPH_MODELS
from edgewise.claims.equations.graph_transformers import GRAPH_TRANSFORMERS
from edgewise.claims.equations.graphormer_scores import GRAPHORMER
from edgewise.claims.equations.kv_cache_decoding import LANGUAGE
from edgewise.claims.equations.node_encodings import ENCODINGS
from edgewise.claims.equations.position_biases import POSITION_BIASES
from edgewise.claims.huggingface.converted import CONVERTED
from edgewise.claims.huggingface.encoders import HUGGINGFACE
from edgewise.claims.ladder import STEPS as STEPS, Step as Step
from edgewise.claims.laws.disjoint_batches import BATCHES
from edgewise.claims.laws.receptive_fields import RECEPTIVE_FIELDS
from edgewise.claims.laws.symmetry import LAWS
from edgewise.claims.outcome import (
    DTYPES as DTYPES,
    LEAST as LEAST,
    Outcome as Outcome,
    missing as missing,
    outcome as outcome,
)
from edgewise.claims.pyg.message_layers import PYG
from edgewise.claims.pyg.meta_layer import GRAPH_NETWORKS
from edgewise.claims.torch.multihead_attention import TORCH_NN
from edgewise.claims.torch.transformer_layers import TORCH_TRANSFORMER

# Every claim that ``edgewise check`` tries.
CLAIMS: tuple[Claim, ...] = (
    *TORCH_NN,
    *TORCH_TRANSFORMER,
    *PYG,
    *ENCODINGS,
    *POSITION_BIASES,
    *GRAPHORMER,
    *GRAPH_NETWORKS,
    *GRAPH_TRANSFORMERS,
    *GRAPH_MODELS,
    *LANGUAGE,
    *HUGGINGFACE,
    *CONVERTED,
    *BASELINES,
    *LAWS,
    *BATCHES,
    *RECEPTIVE_FIELDS,
)
