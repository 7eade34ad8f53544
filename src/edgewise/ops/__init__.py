"""Tensor mathematics that knows no graph: scores, biases, dropout, states, segments."""

from edgewise.ops.bias import (
    Bias as Bias,
)
from edgewise.ops.bias import (
    DenseBias as DenseBias,
)
from edgewise.ops.bias import (
    EdgeBias as EdgeBias,
)
from edgewise.ops.bias import (
    RelativeBias as RelativeBias,
)
from edgewise.ops.inputs import Inputs as Inputs
from edgewise.ops.scores import (
    Additive as Additive,
)
from edgewise.ops.scores import (
    Dot as Dot,
)
from edgewise.ops.scores import (
    GATv2 as GATv2,
)
from edgewise.ops.scores import (
    Score as Score,
)
from edgewise.ops.state import AttentionState as AttentionState
from edgewise.ops.state import merge as merge
