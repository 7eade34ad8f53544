"""How edges are stored, and how a symbolic graph becomes tensors."""

from edgewise.layouts.draw import draw as draw
from edgewise.layouts.edges import edges as edges
from edgewise.layouts.edges import edges_by_contains as edges_by_contains
from edgewise.layouts.formats import (
    BlockMask as BlockMask,
)
from edgewise.layouts.formats import (
    Csr as Csr,
)
from edgewise.layouts.formats import (
    DenseMask as DenseMask,
)
from edgewise.layouts.formats import (
    Edges as Edges,
)
from edgewise.layouts.formats import (
    PaddedRows as PaddedRows,
)
from edgewise.layouts.formats import (
    ReversedCsr as ReversedCsr,
)
from edgewise.layouts.lower import (
    block_mask as block_mask,
)
from edgewise.layouts.lower import (
    csr as csr,
)
from edgewise.layouts.lower import (
    dense_mask as dense_mask,
)
from edgewise.layouts.lower import (
    lower as lower,
)
from edgewise.layouts.lower import (
    padded_rows as padded_rows,
)
from edgewise.layouts.lower import (
    reversed_csr as reversed_csr,
)
