"""Layouts: tensors that hold the edges of a graph, and their construction."""

from edgewise.layouts.band import Band as Band, band as band
from edgewise.layouts.communities import (
    communities as communities,
    in_order as in_order,
    transitivity as transitivity,
)
from edgewise.layouts.draw import draw as draw
from edgewise.layouts.edges import (
    edges as edges,
    edges_by_contains as edges_by_contains,
    num_edges as num_edges,
)
from edgewise.layouts.formats import (
    BlockMask as BlockMask,
    Csr as Csr,
    DenseMask as DenseMask,
    Edges as Edges,
    PaddedRows as PaddedRows,
    ReversedCsr as ReversedCsr,
)
from edgewise.layouts.lower import (
    block_mask as block_mask,
    csr as csr,
    dense_mask as dense_mask,
    lower as lower,
    padded_rows as padded_rows,
    reversed_csr as reversed_csr,
)
from edgewise.layouts.ragged import Ragged as Ragged, ragged as ragged
from edgewise.layouts.tile_fill import (
    TileFill as TileFill,
    fill_of_clusters as fill_of_clusters,
    split_by_fill as split_by_fill,
    tile_fill as tile_fill,
)
