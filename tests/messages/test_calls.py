"""Every error of the operator: its whole text, on wrong shapes, dtypes, devices and numbers."""

import numpy as np
import pytest
import torch

import edgewise as ew
from tests.messages.raising import caught, forgotten, is_one_clear_sentence, names_a_cure

GRAPH = ew.Causal(5)  # 15 edges
COPIES = ew.EdgeList([[0, 0], [1, 1]], num_nodes=5)
Q, K, V = torch.ones(2, 4, 5, 8), torch.ones(2, 2, 5, 8), torch.ones(2, 2, 5, 6)
NOTHING = ew.EdgeList([[], []], num_nodes=5)
STATE = ew.attention_state(Q, K, V, GRAPH)
LSE = STATE.lse


def forward_derivative(backend):
    """A derivative along a direction, forwards."""
    q = torch.randn(1, 4, 2)
    torch.func.jvp(lambda q: ew.attention(q, q, q, ew.Causal(4), backend=backend), (q,), (q,))


def attend(query=Q, key=K, value=V, graph=GRAPH, **settings):
    return ew.attention(query, key, value, graph, **settings)


def weigh(query=Q, key=K, graph=GRAPH, lse=LSE, **settings):
    return ew.weights(query, key, graph, lse, **settings)


CASES = {
    "query of a list": (
        lambda: attend(query=[1.0]),
        ew.ArgumentError,
        ("query must be a tensor, got list. Use torch.as_tensor(query)."),
    ),
    "query of integers": (
        lambda: attend(query=Q.long()),
        ew.ArgumentError,
        "query must be float64, float32, bfloat16 or float16, got torch.int64. Convert it "
        "with query.float().",
    ),
    "query is sparse": (
        lambda: attend(query=Q.to_sparse()),
        ew.ArgumentError,
        "query must be a dense tensor, got torch.sparse_coo. Use query.to_dense().",
    ),
    "key of an array": (
        lambda: attend(key=K.numpy()),
        ew.ArgumentError,
        ("key must be a tensor, got ndarray. Use torch.as_tensor(key)."),
    ),
    "query without heads": (
        lambda: attend(query=Q[0, 0]),
        ew.ShapeError,
        "query must have shape [*batch, heads, nodes, head_dim], got [5, 8]. Add a head "
        "dimension with unsqueeze(0).",
    ),
    "key of another dtype": (
        lambda: attend(key=K.half()),
        ew.ArgumentError,
        "key is torch.float16 on cpu but query is torch.float32 on cpu. Bring all three to "
        "one dtype and device: use key.to(query).",
    ),
    "value of another dtype": (
        lambda: attend(value=V.double()),
        ew.ArgumentError,
        "value is torch.float64 on cpu but query is torch.float32 on cpu. Bring all three to "
        "one dtype and device: use value.to(query).",
    ),
    "key on another device": (
        lambda: attend(key=K.to("meta")),
        ew.ArgumentError,
        "key is torch.float32 on meta but query is torch.float32 on cpu. Bring all three to "
        "one dtype and device: use key.to(query).",
    ),
    "rows of query": (
        lambda: attend(query=Q[:, :, :4]),
        ew.ShapeError,
        "query has 4 rows but graph has 5 targets (query: [2, 4, 4, 8], axis -2). Build the "
        "graph with num_targets=4, or pad query.",
    ),
    "rows of key": (
        lambda: attend(key=K[:, :, :4]),
        ew.ShapeError,
        "key has 4 rows but graph has 5 sources (key: [2, 2, 4, 8], axis -2). Build the graph"
        " with num_sources=4, or pad key.",
    ),
    "rows of value": (
        lambda: attend(value=V[:, :, :4]),
        ew.ShapeError,
        "value has 4 rows but graph has 5 sources (value: [2, 2, 4, 6], axis -2). Build the "
        "graph with num_sources=4, or pad value.",
    ),
    "batch": (
        lambda: attend(key=K[:1]),
        ew.ShapeError,
        "batch dimensions must agree: query has [2], key [1], value [2]. Expand the smaller ones.",
    ),
    "batch dimensions": (
        lambda: attend(key=K[0]),
        ew.ShapeError,
        "batch dimensions must agree: query has [2], key [], value [2]. Expand the smaller ones.",
    ),
    "heads of value": (
        lambda: attend(value=V[:, :1]),
        ew.ShapeError,
        "key has 2 heads but value has 1. Give both the same number.",
    ),
    "heads no multiple": (
        lambda: attend(query=Q[:, :3]),
        ew.ShapeError,
        (
            "query has 3 heads, which is not a multiple of the 2 heads of key and value. "
            "Change the number of heads, or repeat key and value."
        ),
    ),
    "heads zero": (
        lambda: attend(key=K[:, :0], value=V[:, :0]),
        ew.ShapeError,
        "key has 0 heads (key: [2, 0, 5, 8], axis -3). Give it at least one.",
    ),
    "head_dim": (
        lambda: attend(key=K[..., :7]),
        ew.ShapeError,
        "query has head_dim 8 but key has 7. Project both to the same size.",
    ),
    "head_dim of zero": (
        lambda: attend(query=Q[..., :0], key=K[..., :0]),
        ew.ShapeError,
        "query has head_dim 0 (query: [2, 4, 5, 0]). Give it at least one channel.",
    ),
    "head_dim of the score": (
        lambda: attend(score=ew.Additive()),
        ew.ShapeError,
        (
            "this score needs query and key of head_dim 1, got 8 (query: [2, 4, 5, 8]). "
            "Reshape both to [*batch, heads, nodes, 1]."
        ),
    ),
    "graph is an edge index": (
        lambda: attend(graph=torch.zeros(2, 3, dtype=torch.int64)),
        ew.GraphError,
        "graph must be a graph, got Tensor. Wrap edges in EdgeList(edge_index, num_nodes=...).",
    ),
    "graph is a mask": (
        lambda: attend(graph=np.ones((5, 5), dtype=bool)),
        ew.GraphError,
        "graph must be a graph, got ndarray. Use EdgeList.from_dense(mask), which is "
        "True where there is an edge.",
    ),
    "graph is a layout": (
        lambda: attend(graph=ew.lower(ew.Causal(5), ew.DenseMask)),
        ew.GraphError,
        "graph must be a graph, got DenseMask. Use EdgeList.from_dense(mask) with its field mask.",
    ),
    "graph is missing": (
        lambda: ew.aggregate(V[0], None),
        ew.GraphError,
        "graph must be a graph, got NoneType. Wrap edges in EdgeList(edge_index, num_nodes=...).",
    ),
    "vector of another shape": (
        lambda: attend(score=ew.GATv2(torch.ones(4, 7))),
        ew.ShapeError,
        (
            "the vector of a GATv2 score must have shape [heads, head_dim] = [4, 8], got [4, "
            "7]. Give one vector for each head."
        ),
    ),
    "vector on another device": (
        lambda: attend(score=ew.GATv2(torch.ones(4, 8, device="meta"))),
        ew.ArgumentError,
        "weight is on meta but the other tensors are on cpu. Move it with weight.to('cpu').",
    ),
    "soft cap of zero": (
        lambda: ew.Dot(softcap=0.0),
        ew.ArgumentError,
        "Dot: softcap must lie between 1.2e-38 and 1e+30, got 0.0. Leave it out for no limit.",
    ),
    "slope that overflows": (
        lambda: ew.Additive(-3e38),
        ew.ArgumentError,
        "Additive: slope must lie between -1e+30 and 1e+30, got -3e+38. Pass a smaller one, "
        "such as 0.2.",
    ),
    "bias is a list": (
        lambda: attend(bias=[0.5]),
        ew.ArgumentError,
        (
            "bias must be a tensor of one number per edge, RelativeBias or DenseBias, got "
            "list. Use torch.as_tensor()."
        ),
    ),
    "bias of 14 edges": (
        lambda: attend(bias=torch.ones(14)),
        ew.ShapeError,
        (
            "bias must have shape [*batch|1, heads|1, edges] = [2, 4, 15] (leading sizes may "
            "be 1 or left out), got [14]. Order them as in edges(graph), one entry for each "
            "edge."
        ),
    ),
    "bias of three heads": (
        lambda: attend(bias=torch.ones(3, 15)),
        ew.ShapeError,
        (
            "bias must have shape [*batch|1, heads|1, edges] = [2, 4, 15] (leading sizes may "
            "be 1 or left out), got [3, 15]. Order them as in edges(graph), one entry for "
            "each edge."
        ),
    ),
    "bias is a mask": (
        lambda: attend(bias=torch.ones(5, 5)),
        ew.ShapeError,
        (
            "bias must have shape [*batch|1, heads|1, edges] = [2, 4, 15] (leading sizes may "
            "be 1 or left out), got [5, 5]. Order them as in edges(graph), one entry for each"
            " edge."
        ),
    ),
    "bias of integers": (
        lambda: attend(bias=torch.ones(15, dtype=torch.int64)),
        ew.ArgumentError,
        "bias must be float64, float32, bfloat16 or float16, got torch.int64. Convert it with"
        " bias.float().",
    ),
    "bias on another device": (
        lambda: attend(bias=torch.ones(15, device="meta")),
        ew.ArgumentError,
        "bias is on meta but the other tensors are on cpu. Move it with bias.to('cpu').",
    ),
    "dense bias": (
        lambda: attend(bias=ew.DenseBias(torch.ones(5, 4))),
        ew.ShapeError,
        (
            "bias must have shape [*batch|1, heads|1, targets, sources] = [2, 4, 5, 5] "
            "(leading sizes may be 1 or left out), got [5, 4]. Give one number for each pair "
            "of the graph."
        ),
    ),
    "relative bias": (
        lambda: attend(bias=ew.RelativeBias(torch.ones(3, 9))),
        ew.ShapeError,
        (
            "bias table must have shape [heads|1, distances] = [4|1, K], got [3, 9]. Give one"
            " row for each head, or one for all."
        ),
    ),
    "edge_key of 14 edges": (
        lambda: attend(edge_key=torch.ones(14, 8)),
        ew.ShapeError,
        (
            "edge_key must have shape [*batch|1, heads|1, edges, head_dim] = [2, 4, 15, 8] "
            "(leading sizes may be 1 or left out), got [14, 8]. Order them as in "
            "edges(graph), one entry for each edge."
        ),
    ),
    "edge_value of another size": (
        lambda: attend(edge_value=torch.ones(15, 8)),
        ew.ShapeError,
        (
            "edge_value must have shape [*batch|1, heads|1, edges, value_dim] = [2, 4, 15, 6]"
            " (leading sizes may be 1 or left out), got [15, 8]. Order them as in "
            "edges(graph), one entry for each edge."
        ),
    ),
    "edge_value of integers": (
        lambda: attend(edge_value=torch.ones(15, 6, dtype=torch.int64)),
        ew.ArgumentError,
        "edge_value must be float64, float32, bfloat16 or float16, got torch.int64. Convert "
        "it with edge_value.float().",
    ),
    "dropout of everything": (
        lambda: attend(dropout=1.0),
        ew.ArgumentError,
        "dropout must be a number in [0, 1), got 1.0. Pass 0 for none.",
    ),
    "dropout negative": (
        lambda: attend(dropout=-0.1),
        ew.ArgumentError,
        "dropout must be a number in [0, 1), got -0.1. Pass 0 for none.",
    ),
    "dropout nan": (
        lambda: attend(dropout=float("nan")),
        ew.ArgumentError,
        "dropout must be a number in [0, 1), got nan. Pass 0 for none.",
    ),
    "backend unknown": (
        lambda: attend(backend="fast"),
        ew.PlanError,
        (
            "backend must be 'auto' or one of 'reference', 'gather', 'dense', 'banded', 'ragged', "
            "'blocked', 'native', 'flex', got 'fast'. Use 'auto'."
        ),
    ),
    "forward-mode derivative": (
        lambda: forward_derivative("native"),
        ew.DerivativeError,
        "backend 'native' has no forward-mode derivative. Use 'auto' or one of 'gather', 'dense', "
        "'banded', 'ragged', 'blocked': in a call as backend='gather', around layers as "
        "`with edgewise.use_backend('gather'):`.",
    ),
    "second derivatives that are not there": (
        lambda: ew.use_backend("flex", twice_differentiable=True),
        ew.DerivativeError,
        "backend 'flex' has no second derivative. Use 'auto' or one of 'gather', 'dense', "
        "'banded', 'ragged', 'blocked', 'native': in a call as backend='gather', around layers as "
        "`with edgewise.use_backend('gather'):`.",
    ),
    "backend of a block unknown": (
        lambda: ew.use_backend("fast"),
        ew.PlanError,
        "backend must be 'auto' or one of 'reference', 'gather', 'dense', 'banded', 'ragged', "
        "'blocked', 'native', 'flex', got 'fast'. Use 'auto'.",
    ),
    "backend refuses": (
        lambda: attend(backend="dense", edge_key=torch.ones(15, 8)),
        ew.BackendRefused,
        "dense: edge_key belongs to edges, not to matrix entries; leave it out. Or use "
        "backend='auto'.",
    ),
    "backend refuses twice": (
        lambda: attend(backend="dense", edge_key=torch.ones(15, 8), edge_value=torch.ones(15, 6)),
        ew.BackendRefused,
        "dense: edge_key belongs to edges, not to matrix entries; leave it out; edge_value "
        "belongs to edges, not to matrix entries; leave it out. Or use backend='auto'.",
    ),
    "state of other rows": (
        lambda: ew.attention_state(Q[:, :, :4], K, V, GRAPH),
        ew.ShapeError,
        "query has 4 rows but graph has 5 targets (query: [2, 4, 4, 8], axis -2). Build the "
        "graph with num_targets=4, or pad query.",
    ),
    "plan of other rows": (
        lambda: ew.plan(Q, K[:, :, :4], V, GRAPH),
        ew.ShapeError,
        "key has 4 rows but graph has 5 sources (key: [2, 2, 4, 8], axis -2). Build the graph"
        " with num_sources=4, or pad key.",
    ),
    "explain of other rows": (
        lambda: ew.explain(Q, K, V[:, :, :4], GRAPH),
        ew.ShapeError,
        "value has 4 rows but graph has 5 sources (value: [2, 2, 4, 6], axis -2). Build the "
        "graph with num_sources=4, or pad value.",
    ),
    "plan without memory": (
        lambda: ew.plan(Q, K, V, GRAPH, memory_budget=0),
        ew.ArgumentError,
        "memory_budget must be a positive number of bytes, got 0. Leave it out for half of "
        "the free memory.",
    ),
    "plan of another call": (
        lambda: ew.plan(Q, K, V, GRAPH)(Q[:, :2], K, V),
        ew.PlanError,
        "this plan is for another call: heads 2 instead of 4. Plan again.",
    ),
    "plan of another score": (
        lambda: ew.plan(Q, K, V, GRAPH)(Q, K, V, score=ew.Dot(scale=1.0)),
        ew.PlanError,
        "this plan is for Dot(scale=None, softcap=None), got Dot(scale=1.0, softcap=None). "
        "Plan again.",
    ),
    "lse of another shape": (
        lambda: weigh(lse=LSE[..., :4]),
        ew.ShapeError,
        "lse must have shape [*batch, heads, targets] = [2, 4, 5], got [2, 4, 4]. Take it "
        "from attention_state() with the same arguments.",
    ),
    "edges of floats": (
        lambda: weigh(edges=torch.tensor([0.0])),
        ew.ArgumentError,
        (
            "edges must be positions [M] or pairs [2, M] of int64, got [1] of torch.float32. "
            "Use edges.long(), sources in the first row."
        ),
    ),
    "edges of three rows": (
        lambda: weigh(edges=torch.zeros(3, 1, dtype=torch.int64)),
        ew.ArgumentError,
        (
            "edges must be positions [M] or pairs [2, M] of int64, got [3, 1] of torch.int64."
            " Use edges.long(), sources in the first row."
        ),
    ),
    "edge too large": (
        lambda: weigh(edges=torch.tensor([0, 15])),
        ew.ArgumentError,
        (
            "edges must be from 0 to 14, because the graph has 15 edges, got 0 to 15. Use the"
            " numbers of edges(graph)."
        ),
    ),
    "edge negative": (
        lambda: weigh(edges=torch.tensor([-1])),
        ew.ArgumentError,
        (
            "edges must be from 0 to 14, because the graph has 15 edges, got -1 to -1. Use "
            "the numbers of edges(graph)."
        ),
    ),
    "pair with a source too large": (
        lambda: weigh(edges=torch.tensor([[5], [0]])),
        ew.ArgumentError,
        (
            "edges[0] must be from 0 to 4, because the graph has 5 sources, got 5 to 5. Use "
            "the numbers of edges(graph)."
        ),
    ),
    "pair with a target too large": (
        lambda: weigh(edges=torch.tensor([[0], [5]])),
        ew.ArgumentError,
        (
            "edges[1] must be from 0 to 4, because the graph has 5 targets, got 5 to 5. Use "
            "the numbers of edges(graph)."
        ),
    ),
    "pair of copies": (
        lambda: weigh(graph=COPIES, bias=torch.ones(2), edges=torch.tensor([[0], [1]])),
        ew.ArgumentError,
        "edges given as pairs are ambiguous: the graph holds copies of an edge, each with its"
        " own numbers. Give positions in edge order instead.",
    ),
    "reduce unknown": (
        lambda: ew.aggregate(V[0], GRAPH, "product"),
        ew.ArgumentError,
        ("reduce must be 'sum', 'mean' or 'max', got 'product'. Leave it out for 'sum'."),
    ),
    "value without channels": (
        lambda: ew.aggregate(V[0, 0, 0], GRAPH),
        ew.ShapeError,
        "value must have shape [*batch, sources, channels], got [6]. Add a channel dimension "
        "with unsqueeze(-1).",
    ),
    "value of other rows": (
        lambda: ew.aggregate(V[:, :, :4], GRAPH),
        ew.ShapeError,
        "value has 4 rows but graph has 5 sources (value: [2, 2, 4, 6], axis -2). Build the "
        "graph with num_sources=4, or pad value.",
    ),
    "value of integers": (
        lambda: ew.aggregate(V.long(), GRAPH),
        ew.ArgumentError,
        "value must be float64, float32, bfloat16 or float16, got torch.int64. Convert it "
        "with value.float().",
    ),
    "value of a list": (
        lambda: ew.aggregate([1.0], GRAPH),
        ew.ArgumentError,
        ("value must be a tensor, got list. Use torch.as_tensor(value)."),
    ),
    "weight of 14 edges": (
        lambda: ew.aggregate(V[0], GRAPH, weight=torch.ones(14)),
        ew.ShapeError,
        (
            "weight must have shape [*batch|1, edges] = [2, 15] (leading sizes may be 1 or "
            "left out), got [14]. Order them as in edges(graph), one entry for each edge."
        ),
    ),
    "weight on another device": (
        lambda: ew.aggregate(V[0], GRAPH, weight=torch.ones(15, device="meta")),
        ew.ArgumentError,
        "weight is on meta but the other tensors are on cpu. Move it with weight.to('cpu').",
    ),
    "score is a word": (
        lambda: attend(score="dot"),
        ew.ArgumentError,
        "score must be Dot(...), Additive(...) or GATv2(...), got 'dot'. Leave it out for Dot().",
    ),
    "score is a class": (
        lambda: attend(score=ew.Dot),
        ew.ArgumentError,
        "score must be Dot(...), Additive(...) or GATv2(...), got <class "
        "'edgewise.ops.scores.Dot'>. Leave it out for Dot().",
    ),
    "score without its vector": (
        lambda: attend(score=ew.GATv2(None)),
        ew.ArgumentError,
        (
            "GATv2: weight must be a tensor [heads, head_dim], got NoneType. Give one vector "
            "for each head."
        ),
    ),
    "scale is a word": (
        lambda: ew.Dot(scale="auto"),
        ew.ArgumentError,
        "Dot: scale must be a number, got str. Pass a float, such as 0.5.",
    ),
    "dense bias of a list": (
        lambda: ew.DenseBias([0.5]),
        ew.ArgumentError,
        "DenseBias: values must be a tensor, got list. Use torch.tensor(values).",
    ),
    "first of a relative bias": (
        lambda: ew.RelativeBias(torch.ones(1, 9), first=0.5),
        ew.ArgumentError,
        "RelativeBias: first must be a whole number, got 0.5. It is the distance of the first"
        " entry of the table.",
    ),
    "edge_key is a list": (
        lambda: attend(edge_key=[0.5]),
        ew.ArgumentError,
        ("edge_key must be a tensor, got list. Use torch.as_tensor(edge_key)."),
    ),
    "dropout is a word": (
        lambda: attend(dropout="0.1"),
        ew.ArgumentError,
        "dropout must be a number in [0, 1), got '0.1'. Pass 0 for none.",
    ),
    "generator is a seed": (
        lambda: attend(dropout=0.5, generator=3),
        ew.ArgumentError,
        "generator must be a torch.Generator, got int. Make one with "
        "torch.Generator().manual_seed(seed).",
    ),
    "backend is no word": (
        lambda: attend(backend=3),
        ew.PlanError,
        ("backend must be a name, got 3. Use 'auto'."),
    ),
    "plan with memory in words": (
        lambda: ew.plan(Q, K, V, GRAPH, memory_budget="1 GB"),
        ew.ArgumentError,
        "memory_budget must be a positive number of bytes, got '1 GB'. Leave it out for half "
        "of the free memory.",
    ),
    "lse is missing": (
        lambda: weigh(lse=None),
        ew.ArgumentError,
        ("lse must be a tensor, got NoneType. Use torch.as_tensor(lse)."),
    ),
    "lse on another device": (
        lambda: weigh(lse=LSE.to("meta")),
        ew.ArgumentError,
        "lse is on meta but query is on cpu. Move it with lse.to('cpu').",
    ),
    "lse of integers": (
        lambda: weigh(lse=LSE.long()),
        ew.ArgumentError,
        "lse must be float64, float32, bfloat16 or float16, got torch.int64. Convert it with "
        "lse.float().",
    ),
    "edges in a list": (
        lambda: weigh(edges=[0, 1]),
        ew.ArgumentError,
        "edges must be an int64 tensor, got list. Use torch.tensor(edges).",
    ),
    "edges of no edges": (
        lambda: weigh(graph=NOTHING, edges=torch.tensor([0])),
        ew.ArgumentError,
        (
            "edges must be empty, because the graph has 0 edges, got 0 to 0. Use the numbers "
            "of edges(graph)."
        ),
    ),
    "weight in a list": (
        lambda: ew.aggregate(V[0], GRAPH, weight=[1.0]),
        ew.ArgumentError,
        ("weight must be a tensor, got list. Use torch.as_tensor(weight)."),
    ),
    "weight of integers": (
        lambda: ew.aggregate(V[0], GRAPH, weight=torch.ones(15, dtype=torch.int64)),
        ew.ArgumentError,
        "weight must be float64, float32, bfloat16 or float16, got torch.int64. Convert it "
        "with weight.float().",
    ),
    "nothing to merge": (
        lambda: ew.merge([]),
        ew.ArgumentError,
        (
            "merge: states must hold at least one AttentionState, got none. Pass a list of "
            "attention_state() results."
        ),
    ),
    "a tensor to merge": (
        lambda: ew.merge(torch.zeros(2, 3)),
        ew.ArgumentError,
        "merge: states must be a list of AttentionState, got Tensor. Pass a list of "
        "attention_state() results.",
    ),
    "dtypes to merge": (
        lambda: ew.merge([STATE, ew.AttentionState(STATE.out.double(), STATE.lse.double())]),
        ew.ArgumentError,
        "merge: all states must have one dtype and device, got torch.float32 on cpu and "
        "torch.float64 on cpu. Compute them from tensors that are alike.",
    ),
    "shapes to merge": (
        lambda: ew.merge([STATE, ew.AttentionState(STATE.out[:1], STATE.lse[:1])]),
        ew.ShapeError,
        "merge: all states must have one shape, got ((1, 4, 5, 6), (1, 4, 5)) and ((2, 4, 5, "
        "6), (2, 4, 5)) (out, lse). Merge attention over graphs of the same targets.",
    ),
    "gaussian of other sizes": (
        lambda: ew.gaussian_weight(torch.ones(3, 2), torch.ones(4, 3), torch.ones(4, 3)),
        ew.ShapeError,
        (
            "gaussian_weight needs coordinate [edges, P], mean [heads, P] and precision "
            "[heads, P] or [heads, P, P], got [3, 2], [4, 3] and [4, 3]. Give one mean and "
            "one precision for each head."
        ),
    ),
    "maximum as a product": (
        lambda: ew.aggregate(V[0], GRAPH, "max", backend="dense"),
        ew.BackendRefused,
        "dense: a maximum over sources is not a matrix product; use sum or mean. Or use "
        "backend='auto'.",
    ),
}

# Both in tests/functional/test_compile.py.
ELSEWHERE = (
    *("was built inside torch.compile", "cannot be traced by torch.compile"),
    # tests/faults
    *("got a nested one", "as many as", "must be a finite number of float32"),
    *("cannot be built inside traced code",),
    *("has no second derivative", "has no forward-mode derivative", "torch.jit.script"),
)


@pytest.mark.parametrize("name", CASES)
def test_the_whole_text(name):
    assert caught(CASES[name])[0] == CASES[name][2]


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_a_cure(name):
    text = CASES[name][2]
    assert is_one_clear_sentence(text)
    assert names_a_cure(text)


def test_every_error_has_a_case():
    places = ("functional", "shapes.py", "ops", "planning/question.py")
    assert forgotten(CASES.values(), ELSEWHERE, *places) == []
