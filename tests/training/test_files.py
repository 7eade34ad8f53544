"""Data sets from files: round trips, and an error for each fault of a file."""

import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from edgewise.errors import DataError
from edgewise.training import load
from edgewise.training.data import from_arrays


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("kind", ["graph_arrays", "node_arrays"])
def test_round_trip(suffix, kind, tmp_path, request):
    arrays = request.getfixturevalue(kind)
    path = tmp_path / f"mine{suffix}"
    np.savez(path, **arrays) if suffix == ".npz" else save_file(arrays, path)
    data, same = load(str(path)), from_arrays(str(path), arrays)
    assert data.name == str(path)
    assert data.fingerprint == same.fingerprint
    assert torch.equal(data.x, torch.from_numpy(arrays["x"]))
    assert torch.equal(data.topology.edge_index, torch.from_numpy(arrays["edge_index"]))
    assert data.num_classes == 2


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_the_task_may_be_given(suffix, node_arrays, tmp_path):
    path = tmp_path / f"mine{suffix}"
    if suffix == ".npz":
        np.savez(path, **node_arrays, task=np.array("node-values"))
    else:
        save_file(node_arrays, path, metadata={"task": "node-values"})
    assert load(str(path)).task == "node-values"


def test_masks_are_the_split(node_arrays):
    part = np.arange(40) % 4
    masks = {"train_mask": part == 0, "val_mask": part == 1, "test_mask": part == 2}
    data = from_arrays("mine", {**node_arrays, **masks})
    assert data.split(0).sizes == data.split(1).sizes == (10, 10, 10)
    assert data.splits.describe() == "split of the file, 10/10/10"


def test_without_masks_every_seed_draws_another_split(small_graphs, small_nodes):
    assert small_graphs.split(0).sizes == (20, 2, 2)
    assert small_nodes.split(0).sizes == (24, 8, 8)
    assert torch.equal(small_nodes.split(3).test, small_nodes.split(3).test)
    assert not torch.equal(small_nodes.split(3).test, small_nodes.split(4).test)
    for part in (small_nodes.split(0).train, small_nodes.split(0).test):
        assert len(set(small_nodes.y[part].bincount().tolist())) == 1  # stratified


def test_labels_of_minus_one_are_not_scored(node_arrays):
    node_arrays["y"][:10] = -1
    data = from_arrays("mine", node_arrays)
    split = data.split(0)
    assert sum(split.sizes) == 30
    assert int(torch.cat([split.train, split.val, split.test]).min()) == 10


def test_a_column_of_labels_is_labels(node_arrays):
    node_arrays["y"] = node_arrays["y"][:, None]
    assert from_arrays("mine", node_arrays).y.shape == (40,)


def test_edge_features_are_noted(node_arrays):
    edges = node_arrays["edge_index"].shape[1]
    data = from_arrays("mine", {**node_arrays, "edge_attr": np.ones((edges, 2))})
    assert data.notes == ("Edge features are not used: every rung sees the same nodes and edges.",)


def changed(key, value):
    return lambda arrays: {**arrays, key: value}


def with_x(place, value):
    def change(arrays):
        x = arrays["x"].copy()
        x[place] = value
        return {**arrays, "x": x}

    return change


def without(key):
    return lambda arrays: {k: v for k, v in arrays.items() if k != key}


def masks(train, val, test):
    return lambda arrays: {
        **arrays,
        **{
            f"{part}_mask": np.isin(np.arange(40), list(index))
            for part, index in (("train", train), ("val", val), ("test", test))
        },
    }


BAD_NODES = {
    "NaN": (
        with_x((3, 1), np.nan),
        "mine: x holds NaN or an infinite number, first in row 3. Fill in or remove missing "
        "features.",
    ),
    "infinite": (with_x((0, 0), np.inf), "first in row 0"),
    "edge too far": (
        changed("edge_index", np.array([[0, 1], [1, 40]])),
        "mine: edge_index[:, 1] is 1 -> 40, but its graph has 40 nodes. Number the nodes of "
        "each graph from 0.",
    ),
    "edge below zero": (
        changed("edge_index", np.array([[0, -1], [1, 4]])),
        "mine: edge_index[:, 1] is -1 -> 4, but its graph has 40 nodes.",
    ),
    "no edges": (
        changed("edge_index", np.zeros((2, 0), int)),
        "mine: there is no edge in any graph, so no rung could tell what a graph is worth.",
    ),
    "pairs in rows": (
        changed("edge_index", np.zeros((8, 2), int)),
        "mine: edge_index has to be [2, edges] (sources, targets), got [8, 2].",
    ),
    "broken edges": (
        changed("edge_index", np.array([[0.5], [1.0]])),
        "mine: edge_index has to hold whole numbers, got float64.",
    ),
    "label below": (
        changed("y", np.where(np.arange(40) == 5, -2, np.arange(40) % 2)),
        "mine: y holds the label -2, but classes are numbered 0 to 1 (-1 is an unlabelled node).",
    ),
    "labels all below": (
        changed("y", np.arange(40) % 2 - 3),
        "mine: y holds the label -3, but classes are numbered from 0 (-1 is an unlabelled node).",
    ),
    "one class": (
        changed("y", np.zeros(40, int)),
        "mine: y holds a single class. Two are the fewest to learn.",
    ),
    "values not finite": (
        changed("y", np.full(40, np.nan)),
        "mine: y holds NaN or an infinite number.",
    ),
    "too few labels": (
        changed("y", np.zeros(7, int)),
        "mine: y has 7 labels, which fits neither nodes nor graphs (40 and 1). Give one label "
        "for each.",
    ),
    "two columns": (
        changed("y", np.zeros((40, 2))),
        "mine: y has to hold one label each, got [40, 2]. Choose one column.",
    ),
    "text": (changed("y", np.array(["a"] * 40)), "mine: y has to hold numbers, got <U1."),
    "flat x": (changed("x", np.zeros(40)), "mine: x has to be [nodes, features], got [40]."),
    "no x": (
        without("x"),
        "mine: expected the arrays x, edge_index, y, missing x (there is edge_index, y).",
    ),
    "nearly a known key": (
        changed("train_masks", np.ones(40, bool)),
        "mine: train_masks is not part of the layout, which has x, edge_index, y,",
    ),
    "unknown task": (
        changed("task", np.array("nodes")),
        "mine: task has to be one of node-classes, graph-classes, node-values, graph-values, "
        "got 'nodes'.",
    ),
    "task against y": (
        lambda a: {**a, "y": a["y"] + 0.5, "task": np.array("node-classes")},
        "mine: the task is node-classes, but y holds numbers that are not whole.",
    ),
    "one mask": (
        changed("train_mask", np.ones(40, bool)),
        "mine: give all of train_mask, val_mask, test_mask or none, got train_mask.",
    ),
    "short mask": (
        lambda a: {**masks([0], [1], [2])(a), "val_mask": np.ones(3, bool)},
        "mine: val_mask needs one row for each of 40 nodes, got [3].",
    ),
    "mask of numbers": (
        lambda a: {**masks([0], [1], [2])(a), "val_mask": np.arange(40)},
        "mine: val_mask has to hold one true or false each, got int64 [40].",
    ),
    "empty part": (
        masks([0, 1], [], [2]),
        "mine: the val part of the split is empty. Give each part at least one node: by "
        "masks, or by more nodes.",
    ),
    "parts overlap": (
        masks([0, 1], [1], [2]),
        "mine: the split puts a node into two parts. Make train, val and test disjoint.",
    ),
    "edge features": (
        changed("edge_attr", np.ones((3, 2))),
        "mine: edge_attr needs one row for each of 760 edges, got [3, 2].",
    ),
}


@pytest.mark.parametrize("case", BAD_NODES)
def test_bad_nodes(case, node_arrays):
    change, sentence = BAD_NODES[case]
    with pytest.raises(DataError) as caught:
        from_arrays("mine", change(node_arrays))
    assert sentence in str(caught.value)


BAD_GRAPHS = {
    "half of the pointers": (
        without("edge_ptr"),
        "mine: many graphs need node_ptr and edge_ptr, got only node_ptr.",
    ),
    "pointers that end early": (
        lambda a: {**a, "node_ptr": a["node_ptr"][:-1]},
        "mine: node_ptr has to end with the 132 rows of x, got 125.",
    ),
    "pointers that fall": (
        lambda a: {**a, "edge_ptr": np.r_[0, 50, 20, a["edge_ptr"][3:]]},
        "mine: edge_ptr has to rise from 0 to",
    ),
    "pointers that differ": (
        lambda a: {**a, "edge_ptr": a["edge_ptr"][[0, -1]]},
        "mine: node_ptr describes 24 graphs but edge_ptr 1.",
    ),
    "label below": (
        lambda a: {**a, "y": 2 * a["y"] - 1},
        "mine: y holds the label -1, but classes are numbered 0 to 1.",
    ),
    "edge of another graph": (
        lambda a: {**a, "edge_index": a["edge_index"] + 1},
        "but its graph has 4 nodes",
    ),
}


@pytest.mark.parametrize("case", BAD_GRAPHS)
def test_bad_graphs(case, graph_arrays):
    change, sentence = BAD_GRAPHS[case]
    with pytest.raises(DataError) as caught:
        from_arrays("mine", change(graph_arrays))
    assert sentence in str(caught.value)


def test_one_label_that_fits_both_needs_a_task():
    arrays = {"x": np.ones((1, 1)), "edge_index": np.zeros((2, 1), int), "y": np.array([1.0])}
    with pytest.raises(DataError, match="fits both nodes and graphs"):
        from_arrays("mine", arrays)


def whole_npz(path):
    np.savez(path, x=np.ones((2, 1)))
    return path.read_bytes()


DAMAGED = {
    "cut.npz": lambda path: path.write_bytes(whole_npz(path)[:100]),
    "text.npz": lambda path: path.write_text("x, y\n1, 2\n"),
    "lone.npz": lambda path: path.write_bytes(lone_array(path)),
    "empty.npz": lambda path: path.write_bytes(b""),
    "pickle.npz": lambda path: np.savez(path, x=np.array([{}], dtype=object)),
    "text.safetensors": lambda path: path.write_text("x, y\n1, 2\n"),
    "empty.safetensors": lambda path: path.write_bytes(b""),
}


def lone_array(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    return path.read_bytes()


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files(name, tmp_path):
    path = tmp_path / name
    DAMAGED[name](path)
    with pytest.raises(DataError) as caught:
        load(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: expected plain arrays, got a damaged file")
    assert "\n" not in message


def test_a_flipped_bit_is_detected(tmp_path):
    path = tmp_path / "flipped.npz"
    np.savez_compressed(path, x=np.arange(10_000.0))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(DataError, match="damaged"):
        load(str(path))


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.npz: there is no such file"):
        load(str(tmp_path / "none.npz"))


def test_an_unknown_name_lists_the_data_sets():
    with pytest.raises(DataError) as caught:
        load("corra")
    assert str(caught.value) == (
        "corra: no such data set. Use digits, cora, citeseer, mutag, nci1, esol, or the path of a "
        "file ending in .npz or .safetensors."
    )


def test_a_root_that_is_no_folder(tmp_path):
    with pytest.raises(DataError, match="the data root is not a folder"):
        load("cora", tmp_path / "nowhere")


def test_a_damaged_archive_of_a_known_set(tmp_path):
    (tmp_path / "MUTAG.zip").write_bytes(b"PK not really")
    with pytest.raises(DataError, match=r"MUTAG\.zip: expected a \.zip archive, got a damaged"):
        load("mutag", tmp_path)


def test_an_archive_without_its_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "MUTAG.zip", "w") as archive:
        archive.writestr("MUTAG/README.txt", "nothing")
    with pytest.raises(DataError, match=r"expected the file MUTAG_graph_indicator\.txt inside"):
        load("mutag", tmp_path)


def tu_archive(tmp_path, **changes):
    files = {
        "A": "1, 2\n2, 1\n3, 4\n4, 3\n",
        "graph_indicator": "1\n1\n2\n2\n",
        "graph_labels": "-1\n1\n",
        "node_labels": "0\n1\n0\n0\n",
        **changes,
    }
    with zipfile.ZipFile(tmp_path / "MUTAG.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(f"MUTAG/MUTAG_{name}.txt", text)
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"A": "1, two\n"}, "MUTAG_A.txt has to hold whole numbers"),
        ({"A": "1, 9\n"}, "an edge names a node beyond the 4 there are"),
        ({"graph_indicator": "2\n1\n2\n2\n"}, "the graph of each node has to rise from 1 to 2"),
        ({"A": "1, 3\n"}, "but its graph has 2 nodes"),
    ],
)
def test_an_archive_with_wrong_numbers(changes, sentence, tmp_path):
    with pytest.raises(DataError, match=sentence):
        load("mutag", tu_archive(tmp_path, **changes))


def test_damaged_folds(tmp_path):
    tu_archive(tmp_path)
    (tmp_path / "MUTAG_splits.json").write_text('{"test": 1}')
    with pytest.raises(DataError, match="expected a list of folds"):
        load("mutag", tmp_path)


def test_an_npz_of_a_known_set_that_lacks_an_array(tmp_path):
    np.savez(tmp_path / "cora.npz", edges=np.zeros((2, 0)))
    with pytest.raises(DataError, match="missing labels, train, val, test, x_indptr"):
        load("cora", tmp_path)
