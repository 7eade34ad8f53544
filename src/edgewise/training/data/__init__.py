"""Data sets: reading without pickle, checks and splits."""

from edgewise.training.data.array_files import from_arrays as from_arrays, from_file as from_file
from edgewise.training.data.catalog import CATALOG as CATALOG, load as load
from edgewise.training.data.conllu import Sentence as Sentence, read_conllu as read_conllu
from edgewise.training.data.dataset import GraphDataset as GraphDataset, Task as Task
from edgewise.training.data.edge_files import (
    EDGE_SUFFIXES as EDGE_SUFFIXES,
    edges_from_file as edges_from_file,
)
from edgewise.training.data.splits import (
    Drawn as Drawn,
    Folds as Folds,
    Published as Published,
    Split as Split,
    Splits as Splits,
)
from edgewise.training.data.topology import Separate as Separate, Shared as Shared
from edgewise.training.data.trees import (
    SENTIMENTS as SENTIMENTS,
    Tree as Tree,
    read_trees as read_trees,
)
