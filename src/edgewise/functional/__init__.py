"""Say it: the functions users call."""

from edgewise.functional.aggregate import aggregate as aggregate
from edgewise.functional.attention import (
    attention as attention,
)
from edgewise.functional.attention import (
    attention_state as attention_state,
)
from edgewise.functional.attention import (
    explain as explain,
)
from edgewise.functional.attention import (
    plan as plan,
)
from edgewise.functional.weights import weights as weights
