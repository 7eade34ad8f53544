"""Attention over any graph, on the fastest exact path your hardware has.

A Transformer, a graph attention network, a causal language model and a long-context model are one
layer on different graphs. This package is one operator (`attention`), one graph object and one
planner for all of them. Importing it loads torch and nothing optional; layers are in
`edgewise.nn`, models in `edgewise.models`, training in `edgewise.training`: attributes of this
package that are loaded when they are first used.
"""

import importlib as _importlib
import typing as _typing

from edgewise.errors import (
    ArgumentError as ArgumentError,
    BackendRefused as BackendRefused,
    DataError as DataError,
    DerivativeError as DerivativeError,
    EdgewiseError as EdgewiseError,
    GraphError as GraphError,
    PlanError as PlanError,
    ShapeError as ShapeError,
)
from edgewise.functional import (
    aggregate as aggregate,
    attention as attention,
    attention_state as attention_state,
    explain as explain,
    plan as plan,
    weights as weights,
)
from edgewise.graphs import (
    Assume as Assume,
    Blocks as Blocks,
    Causal as Causal,
    Complete as Complete,
    Dilated as Dilated,
    EdgeList as EdgeList,
    Facts as Facts,
    Graph as Graph,
    Grid as Grid,
    Hubs as Hubs,
    Predicate as Predicate,
    PrefixCausal as PrefixCausal,
    RandomRegular as RandomRegular,
    SelfLoops as SelfLoops,
    Window as Window,
    check_facts as check_facts,
    compose as compose,
    disjoint_union as disjoint_union,
    induced as induced,
    permute as permute,
    receptive_field as receptive_field,
    reverse as reverse,
)
from edgewise.layouts import (
    BlockMask as BlockMask,
    Csr as Csr,
    DenseMask as DenseMask,
    Edges as Edges,
    ReversedCsr as ReversedCsr,
    draw as draw,
    edges as edges,
    lower as lower,
    num_edges as num_edges,
)
from edgewise.ops import (
    Additive as Additive,
    AttentionState as AttentionState,
    DenseBias as DenseBias,
    Dot as Dot,
    EdgeBias as EdgeBias,
    GATv2 as GATv2,
    RelativeBias as RelativeBias,
    gaussian_weight as gaussian_weight,
    merge as merge,
)
from edgewise.planning import (
    set_default_backend as set_default_backend,
    use_backend as use_backend,
)
from edgewise.version import __version__ as __version__

if _typing.TYPE_CHECKING:
    from edgewise import (
        integrations as integrations,
        lottery as lottery,
        models as models,
        nn as nn,
        testing as testing,
        training as training,
    )

_PACKAGES = ("integrations", "lottery", "models", "nn", "testing", "training")


def __getattr__(name: str) -> _typing.Any:
    """Load a package on first use: ``import edgewise as ew`` alone loads the operator."""
    if name in _PACKAGES:
        return _importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES})
