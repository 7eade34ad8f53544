"""What Edgewise claims to equal, each claim with both sides: ``edgewise check`` tries them all.

A new claim is one function that returns `Sides`, and one line in its family's tuple.
"""

from edgewise.testing.claims.baselines import BASELINES
from edgewise.testing.claims.batches import BATCHES
from edgewise.testing.claims.claim import BOUNDS as BOUNDS, Claim as Claim, Sides as Sides
from edgewise.testing.claims.converted import CONVERTED
from edgewise.testing.claims.encodings import ENCODINGS
from edgewise.testing.claims.graph_models import GRAPH_MODELS
from edgewise.testing.claims.graph_networks import GRAPH_NETWORKS
from edgewise.testing.claims.graph_transformers import GRAPH_TRANSFORMERS
from edgewise.testing.claims.graphormer import GRAPHORMER
from edgewise.testing.claims.huggingface import HUGGINGFACE
from edgewise.testing.claims.language import LANGUAGE
from edgewise.testing.claims.laws import LAWS
from edgewise.testing.claims.outcome import (
    DTYPES as DTYPES,
    LEAST as LEAST,
    Outcome as Outcome,
    missing as missing,
    outcome as outcome,
)
from edgewise.testing.claims.position_biases import POSITION_BIASES
from edgewise.testing.claims.pyg import PYG
from edgewise.testing.claims.receptive_fields import RECEPTIVE_FIELDS
from edgewise.testing.claims.rungs import RUNGS as RUNGS, Rung as Rung
from edgewise.testing.claims.torch_nn import TORCH_NN
from edgewise.testing.claims.torch_transformer import TORCH_TRANSFORMER

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
