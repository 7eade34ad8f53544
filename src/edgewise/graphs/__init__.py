"""What attends to what: symbolic graphs, frozen values without kernels."""

from edgewise.graphs.algebra import (
    Composition as Composition,
    Difference as Difference,
    Intersection as Intersection,
    Permutation as Permutation,
    Reverse as Reverse,
    Union as Union,
    compose as compose,
    permute as permute,
    receptive_field as receptive_field,
    reverse as reverse,
)
from edgewise.graphs.base import Graph as Graph, recall as recall
from edgewise.graphs.disjoint import (
    DisjointUnion as DisjointUnion,
    disjoint_union as disjoint_union,
)
from edgewise.graphs.expander import RandomRegular as RandomRegular
from edgewise.graphs.explicit import EdgeList as EdgeList
from edgewise.graphs.facts import Cuts as Cuts, Facts as Facts
from edgewise.graphs.grid import Grid as Grid
from edgewise.graphs.hubs import Hubs as Hubs
from edgewise.graphs.predicate import (
    Assume as Assume,
    Predicate as Predicate,
    check_facts as check_facts,
)
from edgewise.graphs.sequence import (
    Blocks as Blocks,
    Causal as Causal,
    Complete as Complete,
    Dilated as Dilated,
    PrefixCausal as PrefixCausal,
    SelfLoops as SelfLoops,
    Window as Window,
)
from edgewise.graphs.symbolic import graph_from as graph_from
