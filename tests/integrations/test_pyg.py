"""From PyTorch Geometric to a file and back, without a pickle."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, InMemoryDataset

from edgewise.errors import DataError
from edgewise.integrations import pyg
from edgewise.training import load

SUFFIXES = pytest.mark.parametrize("suffix", [".npz", ".safetensors"])


def triangle(**more):
    edge_index = torch.tensor([[0, 1, 1, 2, 2, 0], [1, 0, 2, 1, 0, 2]])
    fields = {"x": torch.rand(3, 2), "y": torch.tensor([0, 1, 1]), **more}
    return Data(edge_index=edge_index, **fields)


def path(label):
    edge_index = torch.tensor([[0, 1], [1, 0]])
    return Data(x=torch.rand(2, 2), edge_index=edge_index, y=torch.tensor([label]))


class Many(InMemoryDataset):
    """A data set in memory, as PyTorch Geometric makes them."""

    def __init__(self, graphs):
        super().__init__(None)
        self.data, self.slices = self.collate(graphs)


@SUFFIXES
def test_one_graph(suffix, tmp_path):
    masks = torch.eye(3, dtype=torch.bool)
    graph = triangle(train_mask=masks[0], val_mask=masks[1], test_mask=masks[2])
    file = pyg.save(graph, tmp_path / f"triangle{suffix}")
    data = load(str(file))
    assert data.task == "node-classes"
    assert torch.equal(data.x, graph.x)
    assert torch.equal(data.y, graph.y)
    assert torch.equal(data.topology.edge_index, graph.edge_index)
    assert [part.tolist() for part in vars(data.split(0)).values()] == [[0], [1], [2]]


@SUFFIXES
@pytest.mark.parametrize("kind", [list, Many])
def test_many_graphs(kind, suffix, tmp_path):
    graphs = [triangle(y=torch.tensor([k % 2])) if k % 3 else path(k % 2) for k in range(12)]
    data = load(str(pyg.save(kind(graphs), tmp_path / f"many{suffix}")))
    assert data.task == "graph-classes"
    assert data.topology.num_graphs == 12
    assert data.topology.sizes.tolist() == [graph.num_nodes for graph in graphs]
    for number, graph in enumerate(graphs):
        part = data.topology.part(torch.tensor([number]))
        assert torch.equal(part.edge_index, graph.edge_index)
        assert torch.equal(data.x[part.nodes], graph.x)
    assert data.y.tolist() == [k % 2 for k in range(12)]


@SUFFIXES
def test_many_graphs_with_labelled_nodes(suffix, tmp_path):
    data = load(str(pyg.save([triangle(), triangle()], tmp_path / f"many{suffix}")))
    assert data.task == "node-classes"
    assert data.y.tolist() == [0, 1, 1, 0, 1, 1]


@SUFFIXES
def test_values_and_edge_features(suffix, tmp_path):
    graphs = [triangle(y=torch.tensor([[k / 7]]), edge_attr=torch.rand(6, 2)) for k in range(10)]
    data = load(str(pyg.save(graphs, tmp_path / f"values{suffix}")))
    assert data.task == "graph-values"
    assert data.y.tolist() == pytest.approx([k / 7 for k in range(10)])
    assert data.notes


@SUFFIXES
def test_the_task_may_be_said(suffix, tmp_path):
    graphs = [triangle(y=torch.tensor([float(k % 2)])) for k in range(10)]
    file = pyg.save(graphs, tmp_path / f"said{suffix}", task="graph-classes")
    assert load(str(file)).task == "graph-classes"


def test_one_of_several_splits(tmp_path):
    masks = torch.eye(3, dtype=torch.bool)
    graph = triangle(
        train_mask=torch.stack([masks[0], masks[1]], 1),
        val_mask=torch.stack([masks[1], masks[2]], 1),
        test_mask=torch.stack([masks[2], masks[0]], 1),
    )
    for split, node in ((0, 0), (1, 1)):
        data = load(str(pyg.save(graph, tmp_path / "masks.npz", split=split)))
        assert data.split(0).train.tolist() == [node]


def test_features_that_no_array_has_in_order(tmp_path):
    """Safetensors are written as they are in memory: a transposed one would be scrambled."""
    graph = triangle()
    graph.x = torch.arange(6.0).view(2, 3).T
    data = load(str(pyg.save(graph, tmp_path / "transposed.safetensors")))
    assert torch.equal(data.x, graph.x)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (Data(edge_index=torch.zeros(2, 1, dtype=torch.long)), "graph 0 has no x, y. Set them"),
        ([triangle(), Data(x=torch.ones(2, 1), y=torch.ones(2))], "graph 1 has no edge_index. Set"),
        ([], "expected at least one graph, got an empty data set"),
    ],
)
def test_what_cannot_be_saved(data, sentence, tmp_path):
    with pytest.raises(DataError) as caught:
        pyg.save(data, tmp_path / "a.npz")
    assert sentence in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_another_suffix(tmp_path):
    with pytest.raises(DataError, match=r"expected a name ending in \.npz or \.safetensors"):
        pyg.save(triangle(), tmp_path / "a.pt")


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    file = pyg.save(triangle(), tmp_path / "a.npz")
    before = file.read_bytes()

    def full(*_, **__):
        raise OSError("no space")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match="no space"):
        pyg.save(path(0), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A machine without the data sets, with an empty cache."""
    monkeypatch.delenv("EDGEWISE_DATA", raising=False)
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "edgewise"))
    return tmp_path / "edgewise"


def test_a_download_is_kept_as_plain_arrays(elsewhere, monkeypatch):
    asked = []

    def download(name, _):
        asked.append(name)
        return [triangle(y=torch.tensor([k % 2])) for k in range(20)]

    monkeypatch.setattr(pyg, "download", download)
    first, second = load("mutag"), load("mutag")
    assert asked == ["mutag"]
    assert first.name == "mutag"
    assert first.fingerprint == second.fingerprint
    assert [file.name for file in elsewhere.iterdir()] == ["mutag.npz"]


def test_a_downloaded_citation_graph_has_its_public_split(elsewhere, monkeypatch):
    masks = {
        f"{part}_mask": m
        for part, m in zip(("train", "val", "test"), torch.eye(3, dtype=torch.bool), strict=True)
    }
    monkeypatch.setattr(pyg, "download", lambda *_: triangle(**masks))
    data = load("cora")
    assert data.splits.describe() == "public split, 1/1/1"
    assert data.x.sum(1).tolist() == pytest.approx([1.0] * 3)  # rows are normalized
    assert elsewhere.is_dir()


def test_a_download_that_fails_leaves_nothing(elsewhere, monkeypatch):
    from torch_geometric import datasets

    class Offline:
        def __init__(self, root, name):
            raise ConnectionError("no route\nto anywhere.")

    monkeypatch.setattr(datasets, "TUDataset", Offline)
    with pytest.raises(DataError) as caught:
        load("nci1")
    assert str(caught.value) == (
        "nci1: there is no tu/NCI1.zip, and it cannot be downloaded: no route. Name the folder "
        "that has it with --data-root or EDGEWISE_DATA."
    )
    assert not elsewhere.exists()
