"""What attends to what: symbolic graphs, frozen values without kernels."""

from edgewise.graphs.algebra import (
    Difference as Difference,
    Intersection as Intersection,
    Reverse as Reverse,
    Union as Union,
    reverse as reverse,
)
from edgewise.graphs.base import (
    Graph as Graph,
    facts_of as facts_of,
    recall as recall,
    recalled as recalled,
)
from edgewise.graphs.blocks import Blocks as Blocks
from edgewise.graphs.composition import (
    Composition as Composition,
    compose as compose,
    receptive_field as receptive_field,
)
from edgewise.graphs.cuts import Cuts as Cuts
from edgewise.graphs.disjoint import (
    DisjointUnion as DisjointUnion,
    disjoint_union as disjoint_union,
)
from edgewise.graphs.expander import RandomRegular as RandomRegular
from edgewise.graphs.explicit import EdgeList as EdgeList
from edgewise.graphs.facts import Facts as Facts
from edgewise.graphs.grid import Grid as Grid
from edgewise.graphs.hubs import Hubs as Hubs
from edgewise.graphs.induced import Induced as Induced, induced as induced
from edgewise.graphs.permutation import Permutation as Permutation, permute as permute
from edgewise.graphs.predicate import (
    Assume as Assume,
    Predicate as Predicate,
    check_facts as check_facts,
)
from edgewise.graphs.sequence import (
    Causal as Causal,
    Complete as Complete,
    Dilated as Dilated,
    PrefixCausal as PrefixCausal,
    SelfLoops as SelfLoops,
    Window as Window,
)
from edgewise.graphs.symbolic import graph_from as graph_from
from edgewise.graphs.written import read_graph as read_graph
