"""Files of data: sizes that headers declare, packed bombs, labels, edges, names, and cures."""

import gzip
import io
import json
import lzma
import os
import re
import sys
import tracemalloc
import zipfile
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from edgewise import integrations
from edgewise.errors import DataError
from edgewise.training import load
from edgewise.training.data import (
    SENTIMENTS,
    catalog,
    edges_from_file,
    from_arrays,
    lines,
    memory_check,
    read_conllu,
    read_trees,
)
from tests.faults.kinds import Kind, each_case

N = 40
_NODE = np.arange(N)
RING = np.stack([np.r_[_NODE, (_NODE + 1) % N], np.r_[(_NODE + 1) % N, _NODE]])
OK = {
    "x": np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32),
    "edge_index": RING,
    "y": _NODE // 20,
}
MASKS = {f"{part}_mask": i == _NODE % 3 for i, part in enumerate(("train", "val", "test"))}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(read, *args) -> str:
    """The one sentence or two that a reader refuses a file with, without allocating its size."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read(*args)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def npy(shape, dtype="<f8", data=b"\0" * 100, version=(1, 0)) -> bytes:
    """A file in numpy's format with any header."""
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    write = {
        (1, 0): np.lib.format.write_array_header_1_0,
        (2, 0): np.lib.format.write_array_header_2_0,
    }[version]
    write(file, header)
    return file.getvalue() + data


def plain(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


# --- Sizes in headers -----------------------------------------------------------------------------

SHAPES = {
    "3.55 PiB": (10**12, 1000),
    "edges": (2, 10**12),
    "a vector": (10**18,),
    "beyond 64 bits": (10**12, 10**12),
    "one row too many": (14, 1),
}


def _check_declared_npz(case):
    key, shape, dtype = case
    npz("lie.npz", {**{k: plain(v) for k, v in OK.items()}, key: npy(shape, dtype)})
    text = refused(load, "lie.npz")
    assert f"{key}: its header says {list(shape)}" in text
    if key in ("edge_index", "node_ptr", "x"):
        assert refused(edges_from_file, Path("lie.npz")) == text


def _check_declared_npy(case):
    shape, version = case
    Path("lie.npy").write_bytes(npy(shape, "<i8", version=version))
    assert f"its header says {list(shape)}" in refused(edges_from_file, Path("lie.npy"))


def _check_odd_header(case):
    npz("lie.npz", {**{k: plain(v) for k, v in OK.items()}, "x": case})
    assert "lie.npz: expected plain arrays, got a damaged file" in refused(load, "lie.npz")


def _check_safetensors(case):
    header = json.dumps({k: {"dtype": "F32", "shape": s, "data_offsets": o} for k, s, o in case})
    raw = header.encode()
    Path("lie.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + b"\0" * 64)
    for read, path in ((load, "lie.safetensors"), (edges_from_file, Path("lie.safetensors"))):
        assert "expected plain arrays, got a damaged file" in refused(read, path)


def _check_citation(case):
    arrays = {
        "edges": np.array([[0], [1]]),
        "labels": np.array([0, 1]),
        **{part: np.array([0]) for part in ("train", "val", "test")},
        "x_indptr": np.array([0, 1, 2]),
        "x_indices": np.array([0, 1]),
        "x_values": np.ones(2),
        "x_shape": np.array([2, 2]),
        **case,
    }
    np.savez("cora.npz", **arrays)
    text = refused(load, "cora", Path.cwd())
    assert text.startswith(f"{Path.cwd() / 'cora.npz'}: ")


def _tu(**changes):
    files = {
        "A": "1, 2\n2, 1\n3, 4\n4, 3\n",
        "graph_indicator": "1\n1\n2\n2\n",
        "graph_labels": "-1\n1\n",
        "node_labels": "0\n1\n0\n0\n",
        **changes,
    }
    with zipfile.ZipFile("MUTAG.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(f"MUTAG/MUTAG_{name}.txt", text)


def _check_tu(changes):
    _tu(**changes)
    assert refused(load, "mutag", Path.cwd()).startswith(f"{Path.cwd() / 'MUTAG.zip'}: ")


# --- Packed files ---------------------------------------------------------------------------------


def _lying_directory(path, name, **fields):
    """Change what the directory of an archive says of a member."""
    raw = bytearray(path.read_bytes())
    record = re.compile(rb"PK\x01\x02.{42}" + name.encode(), re.DOTALL)
    (place,) = (match.start() for match in record.finditer(raw))
    for field, value in fields.items():
        offset = {"packed": 20, "size": 24}[field]
        raw[place + offset : place + offset + 4] = value.to_bytes(4, "little")
    path.write_bytes(raw)


def _check_directory(case):
    compression, fields = case
    npz("lie.npz", {k: plain(v) for k, v in OK.items()}, compression)
    _lying_directory(Path("lie.npz"), "x.npy", **fields)
    assert "expected plain arrays, got a damaged file" in refused(load, "lie.npz")


def _check_bomb(case, monkeypatch):
    write, read, words = case
    write()
    for module in (memory_check, lines):
        monkeypatch.setattr(module, "available_memory", lambda: 1 << 20)
    text = refused(*read)
    assert words in text


def _bomb_npz():
    members = {k: plain(v) for k, v in OK.items()}
    npz("bomb.npz", {**members, "x": plain(np.zeros((N, 10_000)))}, zipfile.ZIP_DEFLATED)


def _bomb_tensors():
    save_file({**OK, "x": np.zeros((N, 10_000))}, "bomb.safetensors")


def _bomb_npy():
    np.save("bomb.npy", np.zeros((2, 100_000), np.int64))


def _packed(name, text, writer=gzip.open):
    def write():
        with writer(name, "wb") as file:
            file.write(text)

    return write


TOO_LARGE = "of memory that are free"
BOMBS = {
    "npz": (_bomb_npz, (load, "bomb.npz"), TOO_LARGE),
    "safetensors": (_bomb_tensors, (load, "bomb.safetensors"), TOO_LARGE),
    "npy": (_bomb_npy, (edges_from_file, Path("bomb.npy")), TOO_LARGE),
    "lines of a gz": (
        _packed("bomb.csv.gz", b"0,1\n" * 100_000),
        (edges_from_file, Path("bomb.csv.gz")),
        TOO_LARGE,
    ),
    "lines of text": (
        _packed("bomb.txt", b"0 1\n" * 100_000, open),
        (edges_from_file, Path("bomb.txt")),
        TOO_LARGE,
    ),
    "comments": (
        _packed("bomb.txt.gz", b"# a\n" * 100_000),
        (edges_from_file, Path("bomb.txt.gz")),
        TOO_LARGE,
    ),
    "a line without end": (
        _packed("bomb.edges.gz", b"1" * (17 << 20)),
        (edges_from_file, Path("bomb.edges.gz")),
        "expected lines of at most",
    ),
    "sentences": (
        _packed("bomb.conllu.gz", b"# a comment\n" * 20_000),
        (read_conllu, Path("bomb.conllu.gz")),
        TOO_LARGE,
    ),
    "trees": (
        _packed("bomb.xz", b"(1 a)\n" * 20_000, lzma.open),
        (read_trees, Path("bomb.xz"), SENTIMENTS),
        TOO_LARGE,
    ),
    "a text of the TU collection": (
        lambda: _tu(A="1, 2\n" * 20_000),
        (load, "mutag", Path()),
        TOO_LARGE,
    ),
    "labels of nodes, one-hot": (
        lambda: _tu(
            graph_indicator="1\n" * 700 + "2\n",
            node_labels="\n".join(map(str, range(701))),
        ),
        (load, "mutag", Path()),
        "one-hot labels of 701 kinds",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_packed_bombs_are_refused_before_they_unfold(name, monkeypatch):
    _check_bomb(BOMBS[name], monkeypatch)


def test_a_limit_on_addresses_counts_as_memory(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 40, 1 << 40))
    free = memory_check.available_memory()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 20, 1 << 20))
    assert memory_check.available_memory() == 0 < free


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't alloc")])
def test_memory_that_ends_while_reading_is_a_sentence(error, monkeypatch):
    monkeypatch.setattr(catalog, "from_file", Mock(side_effect=error))
    with pytest.raises(DataError, match=r"mine\.npz: it has to fit into the .* that are free"):
        load("mine.npz")


# --- Labels and edges -----------------------------------------------------------------------------


def graphs(y):
    """As many graphs of a path of three nodes as there are labels."""
    count = len(y)
    return {
        "x": np.ones((3 * count, 2)),
        "y": np.asarray(y),
        "edge_index": np.tile(np.array([[0, 1, 1, 2], [1, 0, 2, 1]]), (1, count)),
        "node_ptr": np.arange(0, 3 * count + 1, 3),
        "edge_ptr": np.arange(0, 4 * count + 1, 4),
    }


MANY = np.r_[np.repeat(np.arange(6), 2), np.arange(6, 57)]  # 57 classes, 51 of them once


def _check_refused_labels(case):
    arrays, words = case
    np.savez("mine.npz", **arrays)
    with pytest.raises(DataError) as caught:
        load("mine.npz").split(0)
    assert words in str(caught.value)


def _check_noted(case):
    arrays, notes = case
    data = from_arrays("mine", {**OK, **arrays})
    assert len(data.notes) == len(notes), data.notes
    for note, words in zip(data.notes, notes, strict=True):
        assert words in note


def _check_unlabelled(y):
    data = from_arrays("mine", {**OK, "y": y})
    part = data.split(0)
    scored = torch.cat([part.train, part.val, part.test])
    assert bool((data.y[scored] >= 0).all())


ONE_WAY = RING[:, :N]
NOTES = {
    "nothing": ({}, []),
    "bonds once": ({"edge_index": ONE_WAY}, ["No edge has its reverse: messages flow one way."]),
    "one edge without reverse": (
        {"edge_index": RING[:, :-1]},
        ["1 of 79 different edges have no reverse"],
    ),
    "every edge twice": (
        {"edge_index": np.c_[RING, RING]},
        ["80 of 160 edges are copies of another one"],
    ),
    "bonds once, twice": (
        {"edge_index": np.c_[ONE_WAY, ONE_WAY]},
        ["No edge has its reverse", "40 of 80 edges are copies"],
    ),
    "self-loops": (
        {"edge_index": np.c_[RING, [_NODE[:3], _NODE[:3]]]},
        ["3 edges lead from a node to itself."],
    ),
    "one self-loop": ({"edge_index": np.c_[RING, [[5], [5]]]}, ["1 edge leads from a node"]),
    "self-loops alone": ({"edge_index": np.stack([_NODE, _NODE])}, ["40 edges lead from a node"]),
    "y from 1": ({"y": OK["y"] + 1}, ["Labels seem to be counted from 1."]),
    "an empty class": ({"y": 2 * OK["y"]}, ["1 of the classes 0 to 2 occurs nowhere: 1."]),
    "many empty classes": (
        {"y": 30 * OK["y"]},
        ["29 of the classes 0 to 30 occur nowhere: 1, 2, 3, 4, 5, .."],
    ),
    "unlabelled": (
        {"y": np.where(_NODE < 10, -1, OK["y"])},
        ["10 of 40 nodes are unlabelled (label -1): they take part, and are not scored."],
    ),
    "a class of one": (
        {"y": np.where(_NODE == 39, 2, OK["y"])},
        ["y holds 3 classes, 1 of them once"],
    ),
    "values are not classes": ({"y": OK["y"] + 1.5}, []),
    "ids": ({"ids": _NODE}, ["Not part of the layout, and not used: ids."]),
    "many others": (
        {f"other{i}": _NODE for i in range(12)},
        ["other7 and 4 more."],
    ),
}

REFUSED_LABELS = {
    "-1 and 1": (
        {**OK, "y": np.where(_NODE < 20, -1, 1)},
        "y holds a single class among the 20 of 40 nodes that are labelled (-1 is an unlabelled "
        "node). Two are the fewest to learn; number them from 0.",
    ),
    "-1 and 0": ({**OK, "y": np.where(_NODE < 20, -1, 0)}, "y holds a single class among the 20"),
    "-1 and 1 as floats, asked to be classes": (
        {**OK, "y": np.where(_NODE < 20, -1.0, 1.0), "task": np.array("node-classes")},
        "y holds a single class among the 20",
    ),
    "-1 alone": ({**OK, "y": np.full(N, -1)}, "y labels none of the 40 nodes"),
    "7 alone": ({**OK, "y": np.full(N, 7)}, "y holds a single class. Two are the fewest"),
    "-1 and 1 of graphs": (graphs([-1, 1] * 10), "y holds the label -1, but classes are"),
    "57 classes of 63 graphs": (
        graphs(MANY),
        "y holds 57 classes, 51 of them once, so the val part of the split is empty. If these are "
        "values, store them as floats or set task=graph-values.",
    ),
    "57 whole values of 63 graphs": (
        graphs(7 * MANY),
        "y holds 57 classes, 51 of them once, with numbers up to 392 for 63 graphs.",
    ),
    "40 classes of one node": (
        {**OK, "y": _NODE},
        "y holds 40 classes, 40 of them once, so the val part of the split is empty.",
    ),
    "a label of 10^12": (
        {**OK, "y": np.where(_NODE == 3, 10**12, OK["y"])},
        "y holds 3 classes, 1 of them once, with numbers up to 1,000,000,000,000 for 40 nodes.",
    ),
    "no value": ({**OK, "y": np.full(N, np.nan)}, "Fill in or remove what has no value."),
}


# --- Arrays of other names ------------------------------------------------------------------------


def _check_other_name(name):
    np.savez("mine.npz", **OK, **{name: np.array([{}], dtype=object)})  # never unpickled
    data = load("mine.npz")
    assert data.notes == (f"Not part of the layout, and not used: {name}.",)
    assert data.fingerprint == from_arrays("mine", OK).fingerprint
    save_file({**OK, name: np.ones(3)}, "mine.safetensors")
    assert load("mine.safetensors").notes == data.notes


def _check_near_name(case):
    name, meant = case
    for write, path in ((np.savez, "mine.npz"), (None, "mine.safetensors")):
        arrays = {**OK, name: MASKS["train_mask"]}
        save_file(arrays, path) if write is None else write(path, **arrays)
        with pytest.raises(DataError) as caught:
            load(path)
        assert f"{name} is not part of the layout" in str(caught.value)
        assert f"Rename it to {meant} if it is that" in str(caught.value)


# --- One reader, one cure -------------------------------------------------------------------------

CURES = {
    "a list of pairs": ({"edge_index": RING.T}, "Transpose a list of pairs."),
    "three rows": ({"edge_index": np.r_[RING, RING[:1]]}, "got [3, 80]. Transpose"),
    "flat": ({"edge_index": RING.reshape(-1)}, "got [160]."),
    "one number": ({"edge_index": np.array(3)}, "got []."),
    "floats": ({"edge_index": RING.astype(float)}, "got float64. Save node numbers as int64."),
    "complex": ({"edge_index": RING.astype(complex)}, "got complex128. Save node numbers"),
    "text": ({"edge_index": RING.astype(str)}, "Save node numbers as int64."),
    "bool": ({"edge_index": RING > 3}, "got bool. Save node numbers as int64."),
}

OTHER_CURES = {
    "complex x": ({"x": OK["x"].astype(complex)}, "Save real and imaginary parts as columns."),
    "complex y": ({"y": OK["y"].astype(complex)}, "Save real and imaginary parts as columns."),
    "words": ({"y": np.array(["a", "b"] * 20)}, "Number the names from 0"),
    "bytes": ({"y": np.array([b"a", b"b"] * 20)}, "Number the names from 0"),
    "dates": ({"x": np.zeros((N, 1), "datetime64[s]")}, "Save it as float32 or int64."),
    "records": ({"x": np.zeros((N, 1), [("a", "f4")])}, "Save it as float32 or int64."),
    "masks of several splits": (
        {**MASKS, "val_mask": np.stack([MASKS["val_mask"]] * 10, 1)},
        "Save one split, such as val_mask[:, 0].",
    ),
    "a pointer of floats": (
        {"node_ptr": np.array([0.0, N]), "edge_ptr": np.array([0, 80])},
        "node_ptr has to hold whole numbers, got float64. Save it as int64.",
    ),
    "a pointer with two axes": (
        {"node_ptr": np.array([[0, N]]), "edge_ptr": np.array([0, 80])},
        "got [1, 2]. Flatten it.",
    ),
}


def _check_same_cure(case):
    arrays, words = case
    for suffix in (".npz", ".npy"):
        path = Path(f"mine{suffix}")
        if suffix == ".npz":
            np.savez(path, **{**OK, **arrays})
            assert words in refused(load, str(path))
        else:
            np.save(path, arrays["edge_index"])
        assert words in refused(edges_from_file, path)


def _check_cure(case):
    arrays, words = case
    np.savez("mine.npz", **{**OK, **arrays})
    assert words in refused(load, "mine.npz")


def _check_path(case):
    make, words = case
    make()
    for suffix in (".npz", ".safetensors"):
        name = f"odd{suffix}"
        assert refused(load, name) == refused(edges_from_file, Path(name))
        assert f"{name}: {words}" in refused(load, name)
    assert words in refused(edges_from_file, Path("odd.csv"))


def _each_odd(make):
    return lambda: [make(f"odd{suffix}") for suffix in (".npz", ".safetensors", ".csv")]


@pytest.mark.parametrize("name", ["a.zip", "a.csv", "a.pt", "a.graphml", "noending"])
def test_a_file_of_another_kind_is_there(name):
    Path(name).write_text("")
    text = refused(load, name)
    assert text.startswith(f"{name}: expected a file ending in .npz or .safetensors, got ")
    assert "no such data set" in refused(load, f"{name}x")
    assert "no such data set" in refused(load, "n" * 5000)


# --- Files that are right -------------------------------------------------------------------------


def _check_right(arrays):
    np.savez("mine.npz", **{**OK, **arrays})
    np.savez_compressed("packed.npz", **{**OK, **arrays})
    same = from_arrays("mine", OK)
    for name in ("mine.npz", "packed.npz"):
        data = load(name)
        assert torch.equal(data.x, same.x)
        assert torch.equal(data.y, same.y)
        assert torch.equal(data.topology.edge_index, same.topology.edge_index)


RIGHT = {
    "plain": {},
    "Fortran's order": {k: np.asfortranarray(v) for k, v in OK.items()},
    "big-endian": {"x": OK["x"].astype(">f8"), "edge_index": RING.astype(">i4")},
    "small numbers": {"edge_index": RING.astype(np.uint8), "y": OK["y"].astype(bool)},
    "a column": {"y": OK["y"][:, None]},
    "strided": {"x": np.repeat(OK["x"], 2, 0)[::2]},
}


def test_bfloat16_features_are_read():
    tensors = {k: torch.from_numpy(v) for k, v in OK.items()}
    save_tensors({**tensors, "x": tensors["x"].bfloat16()}, "mine.safetensors")
    assert torch.equal(load("mine.safetensors").x, tensors["x"].bfloat16().float())


def test_the_second_and_third_versions_of_npy_are_read():
    for version in ((1, 0), (2, 0), (3, 0)):
        with open("mine.npy", "wb") as file:  # noqa: PTH123
            np.lib.format.write_array(file, RING, version=version)
        assert edges_from_file(Path("mine.npy")).edge_index.tolist() == RING.tolist()


# --- The cache of downloads -----------------------------------------------------------------------


@pytest.fixture
def downloads(monkeypatch):
    """Replace downloading by writing a small data set; collects where it was written."""
    written = []

    def download(_name, kept, _place):
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, **graphs([0, 1] * 10))
        written.append(kept)

    monkeypatch.setattr(catalog, "_download", download)
    monkeypatch.delenv("EDGEWISE_DATA", raising=False)
    return written


@pytest.mark.parametrize("name", ["mutag", "nci1"])
def test_downloads_are_kept_where_edgewise_cache_says(name, downloads, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "cache"))
    assert load(name).fingerprint == load(name).fingerprint
    assert downloads == [tmp_path / "cache" / f"{name}.npz"]


@pytest.mark.parametrize("content", [b"", b"PK", b"{"], ids=["empty", "cut", "text"])
def test_a_damaged_download_is_fetched_again(content, downloads, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path))
    (tmp_path / "mutag.npz").write_bytes(content)
    assert load("mutag").topology.num_graphs == 20
    assert len(downloads) == 1


def test_a_cache_that_is_a_file_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(integrations, "pyg", Mock(), raising=False)
    monkeypatch.setitem(sys.modules, "edgewise.integrations.pyg", integrations.pyg)
    monkeypatch.setattr(catalog, "require", Mock())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEWISE_CACHE", str(tmp_path / "file"))
    monkeypatch.delenv("EDGEWISE_DATA", raising=False)
    assert "Set EDGEWISE_CACHE to a folder that can be written to." in refused(load, "mutag")


KINDS = (
    Kind(
        "a declared size is believed",
        _check_declared_npz,
        {
            f"{key}, {name}": (key, shape, dtype)
            for key, dtype in (("x", "<f8"), ("edge_index", "<i8"), ("y", "<i8"))
            for name, shape in SHAPES.items()
        }
        | {
            f"{key}, a vector": (key, (10**12,), dtype)
            for key, dtype in (
                ("node_ptr", "<i8"),
                ("edge_ptr", "<i8"),
                ("edge_attr", "<f4"),
                ("train_mask", "|b1"),
                ("task", "<U20"),
            )
        },
    ),
    Kind(
        "a declared size is believed, .npy",
        _check_declared_npy,
        {
            f"{name}, version {version[0]}": (shape, version)
            for name, shape in SHAPES.items()
            for version in ((1, 0), (2, 0))
        },
    ),
    Kind(
        "a header that is none",
        _check_odd_header,
        {
            "negative": npy((-1, 3)),
            "no bytes": b"",
            "no header": b"\x93NUMPY\x01\x00\xff\xff",
            "objects": npy((1,), "|O"),
            "parentheses": b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000,
            "empty and huge": npy((10**30, 0)),
            "cut": plain(OK["x"])[:-8],
            "too long": plain(OK["x"]) + b"\0" * 8,
        },
    ),
    Kind(
        "a declared size is believed, .safetensors",
        _check_safetensors,
        {
            "huge": [("x", [10**12, 1000], [0, 4 * 10**15])],
            "huge in 64 bytes": [("edge_index", [10**12], [0, 64])],
            "beyond 64 bits": [("x", [2**62, 2**62], [0, 64])],
            "negative": [("x", [-4, -4], [0, 64])],
        },
    ),
    Kind(
        "a declared size is believed, cora",
        _check_citation,
        {
            "columns": {"x_shape": np.array([2, 10**15])},
            "rows": {"x_shape": np.array([10**15, 2])},
            "three axes": {"x_shape": np.array([2, 2, 2])},
            "none": {"x_shape": np.array([], int)},
            "entries": {"x_indptr": np.array([0, 1, 10**12])},
            "a column beyond": {"x_indices": np.array([0, 2])},
            "a column below": {"x_indices": np.array([0, -1])},
            "values": {"x_values": np.ones(3)},
        },
    ),
    Kind(
        "damaged files of the TU collection",
        _check_tu,
        {
            "odd edges": {"A": "1, 2\n2\n"},
            "labels missing": {"node_labels": "0\n1\n"},
            "empty": {"graph_indicator": ""},
            "number of 30 digits": {"A": f"1, {10**30}\n"},
            "graph of 2e9": {"graph_indicator": "1\n1\n2000000000\n2000000000\n"},
            "float": {"graph_labels": "1.5\n2\n"},
        },
    ),
    Kind(
        "an archive whose directory lies",
        _check_directory,
        {
            "size, stored": (zipfile.ZIP_STORED, {"size": 2**31}),
            "size, packed": (zipfile.ZIP_DEFLATED, {"size": 2**31}),
            "size below": (zipfile.ZIP_DEFLATED, {"size": 150}),
            "packed, stored": (zipfile.ZIP_STORED, {"packed": 2**31, "size": 2**31}),
            "packed, packed": (zipfile.ZIP_DEFLATED, {"packed": 2**31}),
        },
    ),
    Kind("labels that nothing can be learned from", _check_refused_labels, REFUSED_LABELS),
    Kind("labels and edges nobody is told about", _check_noted, NOTES),
    Kind(
        "nodes without a label are scored",
        _check_unlabelled,
        {f"{n} of 40": np.where(n // 2 > _NODE % 20, -1, _NODE // 20) for n in (2, 10, 20, 30)},
    ),
    Kind(
        "a file with further arrays",
        _check_other_name,
        {name: name for name in ("foo", "names", "ids", "adjacency", "edge_weight", "smiles")},
    ),
    Kind(
        "a mistyped name",
        _check_near_name,
        {
            name: (name, meant)
            for name, meant in (
                ("train_masks", "train_mask"),
                ("trainmask", "train_mask"),
                ("val_masks", "val_mask"),
                ("nodes_ptr", "node_ptr"),
                ("edge_attrs", "edge_attr"),
            )
        },
    ),
    Kind("compare and explain have other cures", _check_same_cure, CURES),
    Kind("no cure", _check_cure, OTHER_CURES),
    Kind(
        "a path that is no file",
        _check_path,
        {
            "a folder": (_each_odd(os.mkdir), "expected a file, got a folder."),
            "a pipe": (_each_odd(os.mkfifo), "expected a regular file, got a device or a pipe."),
            "nothing": (lambda: None, "there is no such file."),
            "a link to nothing": (
                _each_odd(lambda name: Path(name).symlink_to("nowhere")),
                "there is no such file.",
            ),
        },
    ),
    Kind("arrays in another form are refused", _check_right, RIGHT),
)


@each_case(KINDS)
def test_no_fault(check, case):
    check(case)


def test_sentences_hold_no_escape_characters():
    """What a library says of a damaged file is short, and one line."""
    Path("odd.npz").write_bytes(b"\x1b[31m" * 40)
    assert not re.search("[\x00-\x1f]", refused(load, "odd.npz"))
