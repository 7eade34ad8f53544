"""What Edgewise claims to equal, each claim with both sides: ``edgewise check`` tries them all.

A new claim is one function that returns `Sides`, and one line in its family's tuple.
"""

from edgewise.testing.claims.claim import BOUNDS as BOUNDS, Claim as Claim, Sides as Sides
from edgewise.testing.claims.encodings import ENCODINGS
from edgewise.testing.claims.graphormer import GRAPHORMER
from edgewise.testing.claims.outcome import (
    DTYPES as DTYPES,
    LEAST as LEAST,
    Outcome as Outcome,
    missing as missing,
    outcome as outcome,
)
from edgewise.testing.claims.position_biases import POSITION_BIASES
from edgewise.testing.claims.rungs import RUNGS as RUNGS, Rung as Rung
from edgewise.testing.claims.torch_nn import TORCH_NN

CLAIMS: tuple[Claim, ...] = (*TORCH_NN, *ENCODINGS, *POSITION_BIASES, *GRAPHORMER)
