"""Attention over any graph, on the fastest exact path your hardware has.

A Transformer, a graph attention network, a causal language model and a long-context model are one
layer on different graphs. This package is one operator (`attention`), one graph object and one
planner for all of them. Importing it loads torch and nothing optional; layers are in
`edgewise.nn`, models in `edgewise.models`, training in `edgewise.training`.
"""

from edgewise.errors import (
    ArgumentError as ArgumentError,
)
from edgewise.errors import (
    BackendRefused as BackendRefused,
)
from edgewise.errors import (
    DataError as DataError,
)
from edgewise.errors import (
    DerivativeError as DerivativeError,
)
from edgewise.errors import (
    EdgewiseError as EdgewiseError,
)
from edgewise.errors import (
    GraphError as GraphError,
)
from edgewise.errors import (
    PlanError as PlanError,
)
from edgewise.errors import (
    ShapeError as ShapeError,
)
from edgewise.functional import (
    aggregate as aggregate,
)
from edgewise.functional import (
    attention as attention,
)
from edgewise.functional import (
    attention_state as attention_state,
)
from edgewise.functional import (
    explain as explain,
)
from edgewise.functional import (
    plan as plan,
)
from edgewise.functional import (
    weights as weights,
)
from edgewise.graphs import (
    Assume as Assume,
)
from edgewise.graphs import (
    Blocks as Blocks,
)
from edgewise.graphs import (
    Causal as Causal,
)
from edgewise.graphs import (
    Complete as Complete,
)
from edgewise.graphs import (
    Dilated as Dilated,
)
from edgewise.graphs import (
    EdgeList as EdgeList,
)
from edgewise.graphs import (
    Facts as Facts,
)
from edgewise.graphs import (
    Graph as Graph,
)
from edgewise.graphs import (
    Grid as Grid,
)
from edgewise.graphs import (
    Hubs as Hubs,
)
from edgewise.graphs import (
    Predicate as Predicate,
)
from edgewise.graphs import (
    PrefixCausal as PrefixCausal,
)
from edgewise.graphs import (
    RandomRegular as RandomRegular,
)
from edgewise.graphs import (
    SelfLoops as SelfLoops,
)
from edgewise.graphs import (
    Window as Window,
)
from edgewise.graphs import (
    check_facts as check_facts,
)
from edgewise.graphs import (
    compose as compose,
)
from edgewise.graphs import (
    disjoint_union as disjoint_union,
)
from edgewise.graphs import (
    permute as permute,
)
from edgewise.graphs import (
    receptive_field as receptive_field,
)
from edgewise.graphs import (
    reverse as reverse,
)
from edgewise.layouts import (
    BlockMask as BlockMask,
)
from edgewise.layouts import (
    Csr as Csr,
)
from edgewise.layouts import (
    DenseMask as DenseMask,
)
from edgewise.layouts import (
    Edges as Edges,
)
from edgewise.layouts import (
    ReversedCsr as ReversedCsr,
)
from edgewise.layouts import (
    draw as draw,
)
from edgewise.layouts import (
    edges as edges,
)
from edgewise.layouts import (
    lower as lower,
)
from edgewise.ops import (
    Additive as Additive,
)
from edgewise.ops import (
    AttentionState as AttentionState,
)
from edgewise.ops import (
    DenseBias as DenseBias,
)
from edgewise.ops import (
    Dot as Dot,
)
from edgewise.ops import (
    EdgeBias as EdgeBias,
)
from edgewise.ops import (
    GATv2 as GATv2,
)
from edgewise.ops import (
    RelativeBias as RelativeBias,
)
from edgewise.ops import (
    merge as merge,
)

__version__ = "0.1.0"
