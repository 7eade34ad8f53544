"""Planning: the choice of a way to compute, by legality and cost, and its explanation."""

from edgewise.planning.explain import Explanation as Explanation
from edgewise.planning.merge import Merge as Merge
from edgewise.planning.plan import (
    AggregatePlan as AggregatePlan,
    BackendPlan as BackendPlan,
    Plan as Plan,
)
from edgewise.planning.planner import Decision as Decision, choose as choose
from edgewise.planning.selection import (
    Selection as Selection,
    selected as selected,
    set_default_backend as set_default_backend,
    use_backend as use_backend,
)
