"""Which way to compute, and why: legality, cost, choice, explanation."""

from edgewise.planning.explain import Explanation as Explanation
from edgewise.planning.merge import Merge as Merge
from edgewise.planning.plan import AggregatePlan as AggregatePlan, Plan as Plan, Run as Run
from edgewise.planning.planner import Decision as Decision, choose as choose
from edgewise.planning.selection import (
    Selection as Selection,
    selected as selected,
    set_default_backend as set_default_backend,
    use_backend as use_backend,
)
