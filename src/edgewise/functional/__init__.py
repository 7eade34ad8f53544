"""The functions of the operator: attention, its state and weights, sums, plans."""

from edgewise.functional.aggregate import aggregate as aggregate
from edgewise.functional.attention import (
    attention as attention,
    attention_state as attention_state,
    explain as explain,
    plan as plan,
)
from edgewise.functional.weights import weights as weights
