"""Which way to compute, and why: legality, cost, choice, explanation."""

from edgewise.planning.explain import Explanation as Explanation
from edgewise.planning.merge import Merge as Merge
from edgewise.planning.plan import Plan as Plan, Run as Run
from edgewise.planning.planner import Decision as Decision, choose as choose
