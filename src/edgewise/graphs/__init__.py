"""Graphs: which target reads which source, as symbolic, frozen values without kernels."""

from edgewise.graphs.base import (
    Difference as Difference,
    Graph as Graph,
    Intersection as Intersection,
    Reverse as Reverse,
    Union as Union,
    reverse as reverse,
)
from edgewise.graphs.blocks import Blocks as Blocks
from edgewise.graphs.cache import facts_of as facts_of, recall as recall, recalled as recalled
from edgewise.graphs.composition import (
    Composition as Composition,
    compose as compose,
    receptive_field as receptive_field,
)
from edgewise.graphs.cuts import Cuts as Cuts
from edgewise.graphs.disjoint_union import (
    DisjointUnion as DisjointUnion,
    disjoint_union as disjoint_union,
)
from edgewise.graphs.edge_list import EdgeList as EdgeList
from edgewise.graphs.facts import Facts as Facts
from edgewise.graphs.grid import Grid as Grid
from edgewise.graphs.hubs import Hubs as Hubs
from edgewise.graphs.induced import Induced as Induced, induced as induced
from edgewise.graphs.parse import read_graph as read_graph
from edgewise.graphs.permutation import Permutation as Permutation, permute as permute
from edgewise.graphs.predicate import (
    Assume as Assume,
    Predicate as Predicate,
    check_facts as check_facts,
)
from edgewise.graphs.random_regular import RandomRegular as RandomRegular
from edgewise.graphs.sequence import (
    Causal as Causal,
    Complete as Complete,
    Dilated as Dilated,
    PrefixCausal as PrefixCausal,
    SelfLoops as SelfLoops,
    Window as Window,
)
from edgewise.graphs.spec import graph_from as graph_from
