"""What attends to what: symbolic graphs, frozen values without kernels."""

from edgewise.graphs.algebra import (
    Composition as Composition,
)
from edgewise.graphs.algebra import (
    Difference as Difference,
)
from edgewise.graphs.algebra import (
    Intersection as Intersection,
)
from edgewise.graphs.algebra import (
    Permutation as Permutation,
)
from edgewise.graphs.algebra import (
    Reverse as Reverse,
)
from edgewise.graphs.algebra import (
    Union as Union,
)
from edgewise.graphs.algebra import (
    compose as compose,
)
from edgewise.graphs.algebra import (
    permute as permute,
)
from edgewise.graphs.algebra import (
    receptive_field as receptive_field,
)
from edgewise.graphs.algebra import (
    reverse as reverse,
)
from edgewise.graphs.base import Graph as Graph
from edgewise.graphs.base import recall as recall
from edgewise.graphs.disjoint import (
    DisjointUnion as DisjointUnion,
)
from edgewise.graphs.disjoint import (
    disjoint_union as disjoint_union,
)
from edgewise.graphs.expander import RandomRegular as RandomRegular
from edgewise.graphs.explicit import EdgeList as EdgeList
from edgewise.graphs.facts import Cuts as Cuts
from edgewise.graphs.facts import Facts as Facts
from edgewise.graphs.grid import Grid as Grid
from edgewise.graphs.hubs import Hubs as Hubs
from edgewise.graphs.predicate import (
    Assume as Assume,
)
from edgewise.graphs.predicate import (
    Predicate as Predicate,
)
from edgewise.graphs.predicate import (
    check_facts as check_facts,
)
from edgewise.graphs.sequence import (
    Blocks as Blocks,
)
from edgewise.graphs.sequence import (
    Causal as Causal,
)
from edgewise.graphs.sequence import (
    Complete as Complete,
)
from edgewise.graphs.sequence import (
    Dilated as Dilated,
)
from edgewise.graphs.sequence import (
    PrefixCausal as PrefixCausal,
)
from edgewise.graphs.sequence import (
    SelfLoops as SelfLoops,
)
from edgewise.graphs.sequence import (
    Window as Window,
)
from edgewise.graphs.symbolic import graph_from as graph_from
