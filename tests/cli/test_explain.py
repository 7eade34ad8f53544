"""``edgewise explain``: what it takes for a graph, what it prints, and how each failure ends."""

import gzip
import json
import os
import time

import numpy as np
import pytest
import torch

import edgewise as ew
from edgewise.backends import BACKENDS
from edgewise.cli import explain as command
from edgewise.cli.graph import graph_named
from edgewise.cli.main import main
from tests.cli.test_main import refused

EDGES = np.array([[0, 1, 2], [1, 2, 0]])
RING = ew.EdgeList(EDGES.tolist(), num_nodes=3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(capsys, *words, code=0):
    assert main(["explain", *words]) == code
    out, err = capsys.readouterr()
    assert err == ""
    return out


def explanation(graph, *, heads=8, head_dim=64, batch=1, training=False, **others):
    """What the library prints, on tensors of the sizes that the command has by default."""
    query = torch.empty(batch, heads, graph.num_targets, head_dim, requires_grad=training)
    key = torch.empty(batch, heads, graph.num_sources, head_dim, requires_grad=training)
    return ew.explain(query, key, key, graph, memory_budget=10**9, **others)


# --- What it prints -------------------------------------------------------------------------------


def test_it_prints_the_explanation(capsys):
    graph = ew.Window(256, left=8, right=8) | ew.Hubs(256, [0])
    out = printed(capsys, repr(graph), "--memory-budget", "1GB")
    assert out == f"{explanation(graph)}\n"


def test_options_change_the_question(capsys):
    words = ["--heads", "4", "--kv-heads", "2", "--head-dim", "16", "--batch", "3"]
    words += ["--training", "--dropout", "0.5", "--dtype", "bfloat16"]
    first = printed(capsys, "Causal(64, 96)", *words).splitlines()[0]
    assert first == (
        "attention · batch 3 x 64 targets x 96 sources · 4,128 edges · 4 heads on 2 x 16 · Dot · "
        "dropout 0.5 · bfloat16 · cpu · forward + backward"
    )


def test_a_named_backend(capsys):
    assert "└─ gather · Causal(64)" in printed(capsys, "Causal(64)", "--backend", "gather")


def test_json_and_nothing_else(capsys):
    out = printed(capsys, "Causal(64)", "--json", "--memory-budget", "1000000000")
    assert json.loads(out) == explanation(ew.Causal(64)).to_dict()


def test_analyze_runs_every_plan(capsys):
    words = ["Causal(16)", "--heads", "2", "--head-dim", "8", "--training", "--threads", "1"]
    before = torch.get_num_threads()
    record = json.loads(printed(capsys, *words, "--analyze", "--json"))
    assert all(plan["measured"] > 0 for plan in (record["plan"], *record["dearer"]))
    assert "took" in printed(capsys, *words, "--analyze")
    assert torch.get_num_threads() == before


# --- Graphs too large to run ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "graph", ["Window(10000000, left=128, right=128)", "Complete(10000000) - SelfLoops(10000000)"]
)
def test_a_huge_graph_takes_no_time_and_no_memory(graph, capsys, monkeypatch):
    monkeypatch.setattr(torch, "randn", None)
    before = time.perf_counter()
    out = printed(capsys, graph, "--memory-budget", "4GB", code=1)
    assert time.perf_counter() - before < 5
    assert "└─ nothing can run this here" in out
    assert "refused  native    nodes and edges are counted in 32 bits" in out
    assert out.endswith("budget   4 GB\n")


def test_a_huge_graph_with_a_budget_has_a_plan(capsys):
    out = printed(capsys, "Window(10000000, left=128, right=128)", "--memory-budget", "200GB")
    assert "└─ banded · Window(10000000, left=128, right=128) · tiles" in out


def test_json_where_nothing_runs(capsys):
    words = ["Complete(10000000)", "--memory-budget", "4GB", "--json"]
    record = json.loads(printed(capsys, *words, code=1))
    assert record["problem"].startswith("attention · 10,000,000 targets")
    assert record["plan"] is None
    assert record["budget"] == 4 * 10**9
    assert {"backend", "reasons"} == set(record["refused"][0])


# --- Data sets and files --------------------------------------------------------------------------


def test_a_data_set_whose_graphs_are_alike_is_a_batch(capsys):
    assert printed(capsys, "digits").startswith("attention · batch 256 x 16 targets")
    assert printed(capsys, "digits", "--graphs", "5").startswith("attention · batch 5 x 16 targets")


@pytest.mark.skipif("EDGEWISE_DATA" not in os.environ, reason="needs data sets")
def test_data_sets_from_files():
    assert graph_named("cora").graph.facts().max_edges == 10_556
    some = graph_named("mutag", graphs=3).graph
    assert isinstance(some, type(ew.disjoint_union([RING, RING])))
    assert len(some.parts) == 3
    assert len(graph_named("mutag").graph.parts) == 188


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.txt", "0 1\n1 2\n2 0\n"),
        ("snap.txt", "# Directed graph\n# FromNodeId\tToNodeId\n0\t1\n\n1\t2\n# more\n2\t0"),
        ("names.csv", "source,target\n0,1\n1, 2\n2,0\n"),
        ("windows.csv", "\ufeffsource,target\r\n0,1\r\n1,2\r\n2,0\r\n"),
        ("konect.edges", "% sym\n0 1 % first\n1 2\n2 0\n"),
        ("tabs.tsv", "0\t1\n1\t2\n2\t0\n"),
        ("packed.txt.gz", "0 1\n1 2\n2 0\n"),
        ("packed.gz", "0,1\n1,2\n2,0\n"),
    ],
)
def test_a_list_of_edges(name, text, folder):
    raw = text.encode()
    (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    assert graph_named(name).graph == RING


def test_arrays_of_edges():
    from safetensors.numpy import save_file

    np.save("ring.npy", EDGES)
    np.savez("x.npz", edge_index=EDGES.astype(np.uint8), x=np.zeros((5, 2)), y=np.array(["any"]))
    np.savez("n.npz", edge_index=EDGES, num_nodes=7)
    np.savez("many.npz", edge_index=[[0, 1, 0], [1, 0, 1]], node_ptr=[0, 2, 4], edge_ptr=[0, 2, 3])
    save_file({"edge_index": EDGES, "x": np.zeros((4, 1), np.float16)}, "x.safetensors")
    assert graph_named("ring.npy").graph == RING
    assert graph_named("ring.npy", num_nodes=9).graph.num_targets == 9
    assert graph_named("x.npz").graph.num_targets == 5
    assert graph_named("n.npz").graph.num_targets == 7
    assert graph_named("x.safetensors").graph.num_targets == 4
    assert len(graph_named("many.npz").graph.parts) == 2
    assert graph_named("many.npz", graphs=1).graph.num_targets == 2


def test_edges_are_none_where_the_nodes_are_known(folder):
    (folder / "none.txt").write_text("# nothing\n")
    assert graph_named("none.txt", num_nodes=4).graph == ew.EdgeList([[], []], num_nodes=4)


# --- What is wrong --------------------------------------------------------------------------------

LINES = "every line has to hold two whole numbers, source and target, got"
KEEP = "Keep these two columns, and number nodes from 0."
PLAIN = "expected plain arrays, got a damaged file, another kind of file or pickled objects"
NUMBERED = "nodes have to be numbered from 0 to below 2**40, got"
FROM_ZERO = "Number them from 0, without gaps."
NO_EDGE = "there has to be an edge, got none. Say how many nodes there are with num_nodes if that"
BAD_TEXT = {
    "empty": ("", f"{NO_EDGE} is meant."),
    "only comments": ("# a\n# b\n", f"{NO_EDGE} is meant."),
    "ragged": ("0 1\n1 2 3\n", f"{LINES} '1 2 3' in line 2. {KEEP}"),
    "short": ("# a\n0 1\n1\n", f"{LINES} '1' in line 3. {KEEP}"),
    "weights": ("0 1 5\n1 2 5\n", f"{LINES} '0 1 5' in line 1. {KEEP}"),
    "words": ("0 1\n1 b\n", f"{LINES} '1 b' in line 2. {KEEP}"),
    "halves": ("0 1\n1.5 2\n", f"{LINES} '1.5 2' in line 2. {KEEP}"),
    "huge": (
        "0 1\n99999999999999999999 2\n",
        f"{LINES} '99999999999999999999 2' in line 2. {KEEP}",
    ),
    "two headers": ("a b\nc d\n0 1\n", f"{LINES} 'c d' in line 2. {KEEP}"),
    "negative": ("0 1\n-1 2\n", f"{NUMBERED} -1. {FROM_ZERO}"),
    "large": ("0 1\n1099511627776 2\n", f"{NUMBERED} 1099511627776. {FROM_ZERO}"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_text(case, folder, capsys):
    text, message = BAD_TEXT[case]
    (folder / "bad.txt").write_text(text)
    assert refused(capsys, "explain", "bad.txt") == f"bad.txt: {message}"


def test_bad_bytes(folder, capsys):
    (folder / "a.txt").write_bytes(b"\xff\xfe\x00")
    (folder / "b.gz").write_bytes(b"0 1\n")
    (folder / "c.gz").write_bytes(gzip.compress(b"0 1\n" * 100)[:-9])
    assert "expected two columns of whole numbers, got something else" in refused(
        capsys, "explain", "a.txt"
    )
    for name in ("b.gz", "c.gz"):
        assert refused(capsys, "explain", name).startswith(
            f"{name}: expected a gzip file, got a damaged one ("
        )


SHAPE = "edge_index has to be [2, edges] (sources, targets), got"
ODD = "has to hold one whole number for each graph and one more, got nothing. Many graphs need"
BAD_ARRAYS = {
    "pairs": ({"edge_index": EDGES.T}, f"{SHAPE} [3, 2]. Transpose a list of pairs."),
    "flat": ({"edge_index": EDGES[0]}, f"{SHAPE} [3]. Transpose a list of pairs."),
    "floats": (
        {"edge_index": EDGES / 2},
        "edge_index has to hold whole numbers, got float64. Save node numbers as int64.",
    ),
    "negative": ({"edge_index": -EDGES}, f"{NUMBERED} -2. {FROM_ZERO}"),
    "beyond int64": (
        {"edge_index": EDGES.astype(np.uint64) + np.uint64(2**63)},
        f"{NUMBERED} 9223372036854775810. {FROM_ZERO}",
    ),
    "another name": (
        {"edges": EDGES},
        "expected the array edge_index, got edges. Save the edges under this name.",
    ),
    "pickled": (
        {"edge_index": np.array([[0, None], [1, 2]], dtype=object)},
        f"{PLAIN} (it would have to be unpickled). Save it again with numpy.savez.",
    ),
    "few nodes": (
        {"edge_index": EDGES, "num_nodes": 2},
        "num_nodes has to be from 3 (one more than the largest node in it) to 2**40, got 2. Leave "
        "it out, or number the nodes from 0.",
    ),
    "odd nodes": (
        {"edge_index": EDGES, "num_nodes": [3, 3]},
        "num_nodes has to be one whole number, got int64 [2]. Save it again, or leave it out.",
    ),
    "one pointer": (
        {"edge_index": EDGES, "node_ptr": [0, 3]},
        f"edge_ptr {ODD} node_ptr and edge_ptr.",
    ),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays(case, capsys):
    arrays, message = BAD_ARRAYS[case]
    np.savez("bad.npz", **arrays)
    assert refused(capsys, "explain", "bad.npz") == f"bad.npz: {message}"


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.safetensors"])
def test_damaged_arrays(name, folder, capsys):
    (folder / name).write_bytes(b"hello")
    assert refused(capsys, "explain", name).startswith(f"{name}: {PLAIN} (")


def test_nodes_that_no_memory_holds(capsys):
    np.save("sparse.npy", [[0, 2**39], [1, 2]])
    assert refused(capsys, "explain", "sparse.npy").startswith("graph: edges must fit into the ")


ENDINGS = ".npz, .safetensors, .npy, .csv, .tsv, .txt, .edges, .gz"
BAD = {
    "unknown": (
        ["kora"],
        "graph must be an expression, a data set or a file, got 'kora'. Did you mean cora? Use for "
        "example "
        "'Causal(1024)', digits, cora, citeseer, mutag, nci1, esol, or the path of a file ending "
        f"in {ENDINGS}.",
    ),
    "missing": (["none.txt"], "none.txt: there is no such file."),
    "another ending": (
        ["ring.pkl"],
        f"ring.pkl: expected a file of edges, ending in {ENDINGS}, got .pkl. Rename it, or save "
        "the edges as two columns of text.",
    ),
    "code": (
        ["__import__('os').getcwd()"],
        "read_graph: the text must be made of graphs, whole numbers, lists and the signs | & -, "
        "got __import__('os').getcwd(). Write it the way graphs print, like "
        "Window(64, left=2, right=2) | Hubs(64, [0]).",
    ),
    "nodes of an expression": (
        ["Causal(3)", "--num-nodes", "3"],
        "num_nodes must be left out for an expression, got 3: it says how many there are.",
    ),
    "graphs of an expression": (
        ["Causal(3)", "--graphs", "3"],
        "graphs must be left out for an expression, got 3: write a disjoint_union instead.",
    ),
    "too many graphs": (
        ["ring.npy", "--graphs", "2"],
        "graphs must be at most 1 for ring.npy, got 2. Leave it out.",
    ),
    "no heads": (["Causal(3)", "--heads", "0"], "heads must be at least 1, got 0. Leave it out."),
    "no threads": (
        ["Causal(3)", "--threads", "0"],
        "threads must be at least 1, got 0. Leave it out.",
    ),
    "odd heads": (
        ["Causal(3)", "--kv-heads", "3"],
        "query has 8 heads, which is not a multiple of the 3 heads of key and value. Change the "
        "number of heads, or repeat key and value.",
    ),
    "all dropped": (
        ["Causal(3)", "--dropout", "1"],
        "dropout must be a number in [0, 1), got 1.0. Pass 0 for none.",
    ),
    "odd budget": (
        ["Causal(3)", "--memory-budget", "2XB"],
        "memory_budget must be a positive number of bytes, got '2XB'. Write it like 2GB, 512MB or "
        "2000000000.",
    ),
    "unknown backend": (
        ["Causal(3)", "--backend", "magic"],
        f"backend must be 'auto' or one of {', '.join(repr(b.name) for b in BACKENDS)}, got "
        "'magic'. Use 'auto'.",
    ),
    "refused backend": (
        ["ring.npy", "--backend", "banded"],
        "banded: the graph is not known to be a window; use Window, Dilated or Causal. Or use "
        "backend='auto'.",
    ),
    "unknown device": (
        ["Causal(3)", "--device", "tpu"],
        "device must be auto, cpu or cuda, got 'tpu'. Leave it out.",
    ),
    "more than can be counted": (
        ["Causal(1024)", "--heads", "9" * 20],
        "query, key and value must have fewer than 2**62 numbers together, got "
        f"{3 * 1024 * 64 * int('9' * 20):,}. Ask for a smaller graph, fewer heads or a smaller "
        "head_dim.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, folder, capsys):
    np.save("ring.npy", EDGES)
    (folder / "ring.pkl").write_bytes(b"never read")
    words, message = BAD[case]
    assert refused(capsys, "explain", *words) == message


def test_random_tensors_that_do_not_fit(capsys, monkeypatch):
    monkeypatch.setattr(command, "free_memory", lambda _: 10**6)
    assert refused(capsys, "explain", "Causal(1000)", "--analyze") == (
        "analyze: the tensors must fit into the 1 MB of memory that are free, got about 12.3 MB. "
        "Leave out --analyze, or ask for a smaller problem."
    )


def test_ctrl_c_while_plans_run(capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ew, "explain", stop)
    assert refused(capsys, "explain", "Causal(3)", "--analyze", code=130) == "stopped."


def test_help_has_examples(capsys):
    out = " ".join(printed(capsys, "--help").split())
    for words in ("edgewise explain cora", "| Hubs(16384, [0])", ".safetensors", "--analyze"):
        assert words in out
