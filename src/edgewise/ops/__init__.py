"""Tensor operations without graphs: scores, biases, dropout, states, segments."""

from edgewise.ops.bias import (
    Bias as Bias,
    DenseBias as DenseBias,
    EdgeBias as EdgeBias,
    RelativeBias as RelativeBias,
)
from edgewise.ops.gaussian import gaussian_weight as gaussian_weight
from edgewise.ops.inputs import Inputs as Inputs
from edgewise.ops.scores import (
    Additive as Additive,
    Dot as Dot,
    GATv2 as GATv2,
    Score as Score,
)
from edgewise.ops.state import AttentionState as AttentionState, merge as merge
