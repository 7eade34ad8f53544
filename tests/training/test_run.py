"""Training of a rung: every rung trains, reproducibly, and without side effects."""

import math
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgewise.graphs import EdgeList
from edgewise.nn import laplacian_eigenvectors
from edgewise.training import RUNGS, build, load, recipe_for, train
from edgewise.training.callbacks import BestWeights
from edgewise.training.data import Published, Split
from edgewise.training.encoding import laplacian_encoding
from edgewise.training.run import score_of

EPOCHS = 2


def trained(data, name, seed=0, **overrides):
    rung = RUNGS[name]
    recipe = recipe_for(data, name, {"epochs": EPOCHS, **overrides})
    encoding = laplacian_encoding(data, recipe.encodings)
    return train(rung, data, recipe, seed, encoding=encoding)


@pytest.mark.parametrize("name", RUNGS)
def test_every_rung_on_every_task(name, small):
    run = trained(small, name)
    assert (run.rung, run.seed, run.epochs) == (name, 0, EPOCHS)
    assert 1 <= run.best_epoch <= EPOCHS
    assert set(run.scores) == (
        {"accuracy", "loss"} if small.has_classes else {"rmse", "mae", "loss"}
    )
    assert all(math.isfinite(value) for value in run.scores.values())
    assert math.isfinite(run.validation)
    assert 0 < run.error < math.inf
    assert run.diverged == 0
    assert run.parameters > 0
    assert run.peak_bytes > 0
    assert run.seconds > run.seconds_per_epoch > 0
    assert run.threads == 1
    assert bool(run.plan) == (name != "mlp")


@pytest.mark.parametrize("name", RUNGS)
def test_every_rung_on_digits(name):
    data = load("digits")
    split = data.split(0)
    few = Split(split.train[:64], split.val[:20], split.test[:20])
    run = trained(replace(data, splits=Published(few)), name)
    assert run.epochs == EPOCHS
    assert 0 <= run.scores["accuracy"] <= 1


@pytest.mark.parametrize("name", ["mlp", "gnn", "gat"])
def test_published_networks(name, small_nodes):
    run = trained(replace(small_nodes, name="cora"), name)
    assert run.epochs == EPOCHS


def test_the_same_seed_gives_the_same_run(small_graphs):
    first, second, other = (trained(small_graphs, "gat", seed) for seed in (3, 3, 4))
    assert first.scores == second.scores
    assert first.validation == second.validation
    assert first.scores != other.scores


def test_the_random_state_and_the_threads_are_restored(small_nodes):
    before = torch.random.get_rng_state()
    torch.set_num_threads(2)
    trained(small_nodes, "gnn")
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_writes_no_file_and_no_output(small_nodes, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(small_nodes, "gnn")
    assert capfd.readouterr() == ("", "")
    assert list(Path().iterdir()) == []


def test_an_easy_task_is_learned(small_nodes):
    run = trained(small_nodes, "gnn", epochs=60)
    assert run.scores["accuracy"] == 1.0


def test_values_are_scored_in_the_unit_of_the_labels(small_nodes):
    values = replace(
        small_nodes, task="node-values", y=1000.0 + 5.0 * small_nodes.y.float(), num_classes=1
    )
    run = trained(values, "gnn", epochs=80)
    assert run.scores["rmse"] < 2.0
    assert run.scores["mae"] <= run.scores["rmse"]
    assert score_of(values) == ("rmse", False)


def test_training_stops_when_nothing_improves(small_nodes):
    run = trained(small_nodes, "mlp", epochs=300, patience=3, lr=0.1)
    assert run.epochs < 300
    assert run.best_epoch <= run.epochs


def test_epochs_are_reported(small_nodes):
    epochs = []
    rung, recipe = RUNGS["gnn"], recipe_for(small_nodes, "gnn", {"epochs": 3})
    run = train(rung, small_nodes, recipe, 0, report=lambda n, score: epochs.append((n, score)))
    assert [number for number, _ in epochs] == [1, 2, 3]
    assert max(score for _, score in epochs) == run.validation


class Epochs:
    """Enough of a Lightning trainer and module for a callback."""

    def __init__(self):
        self.current_epoch, self.should_stop = -1, False
        self.model = torch.nn.Linear(1, 1)
        self.scores = {}

    def end(self, callback, accuracy, loss):
        self.current_epoch += 1
        torch.nn.init.constant_(self.model.weight, self.current_epoch + 1)
        self.scores = {"accuracy": accuracy, "loss": loss}
        callback.on_validation_end(self, self)


def test_the_best_weights_are_those_of_the_best_score_then_loss():
    epochs, best = Epochs(), BestWeights("accuracy", True, patience=10)
    for accuracy, loss in ((0.5, 2.0), (0.8, 1.0), (0.8, 0.9), (0.7, 0.1), (0.8, 0.95)):
        epochs.end(best, accuracy, loss)
    best.restore(epochs.model)
    assert (best.best_epoch, best.best_score) == (3, 0.8)
    assert epochs.model.weight.item() == 3


def test_patience_counts_epochs_without_any_record():
    epochs, best = Epochs(), BestWeights("rmse", False, patience=2)
    for rmse, loss in ((1.0, 1.0), (1.1, 0.9), (1.1, 1.0), (1.2, 0.8), (1.2, 0.9)):
        epochs.scores = {}
        epochs.current_epoch += 1
        epochs.scores = {"rmse": rmse, "loss": loss}
        best.on_validation_end(epochs, epochs)
    assert not epochs.should_stop
    best.on_validation_end(epochs, epochs)
    assert epochs.should_stop
    assert best.best_score == 1.0


def test_scores_that_are_never_numbers_keep_the_last_weights():
    epochs, best = Epochs(), BestWeights("accuracy", True, patience=5)
    epochs.end(best, math.nan, math.nan)
    best.restore(epochs.model)
    assert epochs.model.weight.item() == 1


def test_encodings_are_computed_for_each_graph(small_graphs):
    encoding = laplacian_encoding(small_graphs, 3)
    graph = small_graphs.topology.graphs()[5]
    start, size = int(small_graphs.topology.node_ptr[5]), graph.num_targets
    alone = laplacian_eigenvectors(graph, 3) * math.sqrt(size)
    torch.testing.assert_close(encoding[start : start + size], alone)


def test_encodings_of_a_shared_topology_are_of_one_graph():
    assert laplacian_encoding(load("digits"), 8).shape == (16, 8)


def test_rungs_differ_in_their_mixers_only(small_graphs):
    recipe = recipe_for(small_graphs, "gnn")
    shapes = [
        {
            k: v.shape
            for k, v in build(rung, small_graphs, recipe).named_parameters()
            if ".mixer." not in k and "embedding.encoding" not in k
        }
        for rung in RUNGS.values()
    ]
    assert all(shape == shapes[0] for shape in shapes)


def test_a_graph_is_needed_to_distinguish_rings_from_paths(small_graphs):
    constant = replace(small_graphs, x=torch.ones_like(small_graphs.x))
    alone = trained(constant, "mlp", epochs=20)
    assert alone.scores["accuracy"] == 0.5  # nothing to see without edges
    assert isinstance(constant.topology.graphs()[0], EdgeList)
