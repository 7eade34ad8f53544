"""The real data sets have the published counts."""

import numpy as np
import pytest
import torch

from edgewise.training import GraphDataset, load
from edgewise.training.data import Separate, Shared

COUNTS = {  # graphs, nodes, undirected edges, features, classes, split of seed 0
    "cora": (1, 2_708, 5_278, 1_433, 7, (140, 500, 1000)),
    "citeseer": (1, 3_327, 4_552, 3_703, 6, (120, 500, 1000)),
    "mutag": (188, 3_371, 3_721, 7, 2, (150, 19, 19)),
    "nci1": (4_110, 122_747, 132_753, 37, 2, (3_328, 370, 412)),
    "esol": (1_128, 14_991, 15_428, 18, 1, (902, 113, 113)),
}


def counts(data: GraphDataset) -> tuple[object, ...]:
    topology = data.topology
    return (
        topology.num_graphs,
        topology.num_nodes,
        topology.num_edges // 2,
        data.num_features,
        data.num_classes,
        data.split(0).sizes,
    )


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name, data_root):
    data = load(name, data_root)
    assert counts(data) == COUNTS[name]
    assert isinstance(data.topology, Separate)


@pytest.mark.parametrize("name", COUNTS)
def test_every_edge_has_its_reverse_and_none_is_a_loop(name, data_root):
    topology = load(name, data_root).topology
    whole = topology.whole()
    source, target = whole.edge_index
    keys = source * topology.num_nodes + target
    assert torch.equal(keys.sort().values, (target * topology.num_nodes + source).sort().values)
    assert not bool((source == target).any())


def test_the_root_may_come_from_the_environment(data_root, monkeypatch):
    monkeypatch.setenv("EDGEWISE_DATA", str(data_root))
    assert load("mutag").topology.num_graphs == 188


def test_rows_of_citation_features_sum_to_one_or_nothing(data_root):
    sums = load("citeseer", data_root).x.sum(1)
    assert set(sums.round(decimals=4).tolist()) == {0.0, 1.0}
    assert int((sums == 0).sum()) == 15


def test_citeseer_nodes_without_a_label_are_never_scored(data_root):
    data = load("citeseer", data_root)
    split = data.split(0)
    assert int((data.y < 0).sum()) == 15
    assert data.notes == ("15 nodes without a label take part, unscored.",)
    assert bool((data.y[torch.cat([split.train, split.val, split.test])] >= 0).all())


def test_nci1_tests_every_graph_once_in_ten_folds(data_root):
    data = load("nci1", data_root)
    tests = torch.cat([data.split(seed).test for seed in range(10)])
    assert torch.equal(tests.sort().values, torch.arange(4_110))
    assert torch.equal(data.split(0).test, data.split(10).test)


def test_mutag_keeps_the_share_of_each_class(data_root):
    data = load("mutag", data_root)
    assert data.y.bincount().tolist() == [63, 125]
    for seed in range(3):
        assert data.y[data.split(seed).test].bincount().tolist() == [6, 13]


def test_digits_are_whole_images():
    data = load("digits")
    assert isinstance(data.topology, Shared)
    assert (data.topology.num_graphs, data.topology.graph.num_targets) == (1_797, 16)
    assert data.y.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    from sklearn.datasets import load_digits

    image = load_digits().images[7] / 16
    patches = data.x.view(1_797, 4, 4, 2, 2)[7]  # rows and columns of patches, then of pixels
    np.testing.assert_allclose(patches.transpose(1, 2).reshape(8, 8).numpy(), image)


def test_an_esol_molecule_has_its_bonds(data_root):
    raw = np.load(data_root / "molecules" / "esol.npz")
    topology = load("esol", data_root).topology
    for graph in (0, 500, 1_127):
        part = topology.part(torch.tensor([graph]))
        low, high = raw["edge_ptr"][graph : graph + 2]
        bonds = {tuple(pair) for pair in raw["edge_index"][:, low:high].T.tolist()}
        pairs = {tuple(pair) for pair in part.edge_index.T.tolist()}
        assert pairs == bonds | {(b, a) for a, b in bonds}
