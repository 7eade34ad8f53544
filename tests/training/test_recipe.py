import pytest

from edgewise.errors import ArgumentError
from edgewise.training import RUNGS, recipe_for, rungs_named
from edgewise.training.data import GraphDataset


def named(data: GraphDataset, name: str) -> GraphDataset:
    object.__setattr__(data, "name", name)
    return data


def test_rungs_of_one_ladder_have_one_budget(small_graphs, small_nodes):
    for data in (small_graphs, small_nodes):
        assert len({recipe_for(data, name) for name in RUNGS}) == 1


def test_published_settings(small_nodes):
    cora = named(small_nodes, "cora")
    gcn, gat = recipe_for(cora, "gnn"), recipe_for(cora, "gat")
    assert (gcn.hidden, gcn.dropout, gcn.lr, gcn.weight_decay) == (16, 0.5, 0.01, 5e-4)
    assert (gcn.epochs, gcn.layers, gcn.schedule) == (200, 2, "constant")
    assert (gat.hidden // gat.heads, gat.heads, gat.dropout) == (8, 8, 0.6)
    assert (gat.lr, gat.weight_decay, gat.patience) == (0.005, 5e-4, 100)


def test_overrides_win_over_papers(small_nodes):
    cora = named(small_nodes, "cora")
    assert recipe_for(cora, "gnn", {"hidden": 24, "lr": None}).hidden == 24
    assert recipe_for(cora, "gnn", {"network": "blocks", "layers": 3}).hidden == 64


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1"),
        ({"lr": 0.0}, "lr must be above 0 and finite, got 0. Use 0.001, for example"),
        ({"lr": float("nan")}, "lr must be above 0 and finite, got nan"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0 and finite, got -1"),
        ({"hidden": 30, "heads": 4}, "hidden=30 cannot be divided among heads=4"),
        ({"width": 3}, "there is no setting width. Use batch, dropout, encodings"),
        ({"network": "published"}, "network=published exists for cora and citeseer, not for small"),
    ],
)
def test_settings_out_of_range(overrides, sentence, small_graphs):
    with pytest.raises(ArgumentError) as caught:
        recipe_for(small_graphs, "gat", overrides)
    assert sentence in str(caught.value)


def test_published_networks_have_two_layers(small_nodes):
    with pytest.raises(ArgumentError, match="layers must be 2 for the published networks, got 3"):
        recipe_for(named(small_nodes, "cora"), "gnn", {"layers": 3})


@pytest.mark.parametrize(
    ("names", "got"),
    [
        ("gnn,gcn,gta", "gcn, gta. Did you mean gnn, gat?"),
        (" ,", "none. Separate names by commas."),
    ],
)
def test_unknown_rungs(names, got):
    with pytest.raises(ArgumentError) as caught:
        rungs_named(names)
    assert str(caught.value) == (
        "rungs: expected some of mlp, gnn, gat, graph-transformer, transformer, transformer+pe, "
        f"got {got}"
    )


def test_the_ladder_is_in_order():
    assert [rung.name for rung in rungs_named()] == list(RUNGS)
    assert [rung.name for rung in rungs_named("transformer+pe, gnn")] == ["gnn", "transformer+pe"]
