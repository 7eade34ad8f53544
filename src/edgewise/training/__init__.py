"""Training: data sets, rungs, recipes, and the comparison that trains the rungs.

Optional packages are imported where they are used.
"""

from edgewise.training.comparison import (
    Comparison as Comparison,
    Silent as Silent,
    Watcher as Watcher,
)
from edgewise.training.data import CATALOG as CATALOG, GraphDataset as GraphDataset, load as load
from edgewise.training.difference import (
    PairedDifference as PairedDifference,
    compare_rungs as compare_rungs,
)
from edgewise.training.picture import draw_picture as draw_picture
from edgewise.training.recipe import Recipe as Recipe, recipe_for as recipe_for
from edgewise.training.results import (
    Results as Results,
    Summary as Summary,
    summarize as summarize,
)
from edgewise.training.run import Run as Run, train as train
from edgewise.training.rungs import (
    RUNGS as RUNGS,
    Rung as Rung,
    build as build,
    rungs_named as rungs_named,
)
from edgewise.training.verdict import verdict as verdict
