"""What sparse attention is measured against, and ours in the same clothes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from _harness import Contender, Tensors, leaves
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import edgewise as ew
from edgewise.integrations import pyg as ours_for_pyg

# --- Attention over edges --------------------------------------------------------------------


def plain(query: Tensor, key: Tensor, value: Tensor, target: Tensor, source: Tensor) -> Tensor:
    """Gather, softmax, scatter; nodes first, ``[N, H, D]``.

    The faster of the usual spellings: ``index_select`` has a faster backward than indexing, and no
    gradient goes through the maximum, whose gradient is zero.
    """
    score = (query.index_select(0, target) * key.index_select(0, source)).sum(-1)
    score = score * query.shape[-1] ** -0.5
    index = target[:, None].expand_as(score)
    top = torch.full_like(query[..., 0], -torch.inf)
    top = top.scatter_reduce(0, index, score.detach(), "amax")
    share = (score - top.index_select(0, target)).exp()
    total = torch.zeros_like(top).index_add(0, target, share)
    weight = share / total.index_select(0, target)
    message = weight[..., None] * value.index_select(0, source)
    return torch.zeros_like(query).index_add(0, target, message)


def node_major(
    function: Callable[..., Tensor], graph: ew.Graph, tensors: Sequence[Tensor]
) -> Contender:
    """A formula of queries, keys, values, targets and sources, on ``[N, H, D]``."""
    found = ew.edges(graph)
    *inputs, grad_out = tensors
    return Contender(
        lambda q, k, v: function(q, k, v, found.target, found.source), leaves(inputs), grad_out
    )


def ours(
    graph: ew.Graph,
    tensors: Sequence[Tensor],
    backend: str,
    *,
    head_major: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Contender:
    """Our attention on the same numbers, stored nodes first unless said otherwise."""
    views = [tensor.to(dtype).transpose(0, 1)[None] for tensor in tensors]
    *parts, grad_out = [view.contiguous() for view in views] if head_major else views
    inputs = leaves(parts)
    return Contender(
        lambda q, k, v: ew.attention(q, k, v, graph, backend=backend),
        inputs,
        grad_out,
        lambda out: tuple(tensor[0].transpose(0, 1).float() for tensor in out),
        tolerance=1e-4 if dtype == torch.float32 else 3e-2,
        plan="{backend}: {way}".format_map(ew.plan(*inputs, graph, backend=backend).to_dict()),
    )


# --- Layers of PyTorch Geometric -------------------------------------------------------------


def layer_pair(
    name: str, graph: ew.Graph, width: int, heads: int, backend: str
) -> dict[str, Contender]:
    """A layer of PyTorch Geometric, and the same layer computed by Edgewise."""
    import torch_geometric.nn as pyg

    settings: dict[str, Any] = {} if name == "TransformerConv" else {"add_self_loops": False}
    theirs, mine = (
        getattr(library, name)(width, width // heads, heads=heads, **settings)
        for library in (pyg, ours_for_pyg)
    )
    mine.load_state_dict(theirs.state_dict())
    edge_list = ew.edges(graph)
    edge_index = torch.stack([edge_list.source, edge_list.target])
    (x,) = leaves([torch.randn(graph.num_sources, width)])
    grad_out = torch.randn(graph.num_targets, width)

    def contender(layer: nn.Module, context: Callable[[], Any]) -> Contender:
        def run(x: Tensor, *_: Tensor) -> Tensor:
            with context():
                return layer(x, edge_index)

        return Contender(run, (x, *layer.parameters()), grad_out)

    return {
        "ours": contender(mine, lambda: ew.use_backend(backend)),
        f"PyG {name}": contender(theirs, nullcontext),
    }


# --- Batches of complete graphs --------------------------------------------------------------


def nested(sizes: Sequence[int], tensors: Sequence[Tensor]) -> Contender:
    """Torch's attention over a ragged batch, from and to packed ``[N, H, D]``."""
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    *inputs, grad_out = tensors

    def function(*packed: Tensor) -> Tensor:
        ragged = [
            torch.nested.nested_tensor_from_jagged(
                tensor, offsets, min_seqlen=min(sizes), max_seqlen=max(sizes)
            ).transpose(1, 2)
            for tensor in packed
        ]
        return scaled_dot_product_attention(*ragged).transpose(1, 2).values()

    return Contender(function, leaves(inputs), grad_out)


def padded(
    sizes: Sequence[int],
    tensors: Sequence[Tensor],
    *,
    boolean: bool,
    head_major: bool,
    buckets: int = 1,
) -> Contender:
    """Torch's attention over graphs padded to the longest one of their bucket.

    Padding, masks and sorting into buckets are done beforehand and cost it nothing.
    """
    order = torch.tensor(sizes).argsort(stable=True) if buckets > 1 else torch.arange(len(sizes))
    groups = [group.tolist() for group in order.chunk(buckets)]
    *inputs, grads = [_pad(tensor, sizes, groups, head_major) for tensor in tensors]
    masks = [_mask([sizes[graph] for graph in group], boolean=boolean) for group in groups]

    def between(tensor: Tensor) -> Tensor:  # as stored and heads first, in both directions
        return tensor if head_major else tensor.transpose(1, 2)

    def function(*flat: Tensor) -> Tensors:
        parts = len(masks)
        calls = zip(flat[:parts], flat[parts : 2 * parts], flat[2 * parts :], masks, strict=True)
        outs = [
            scaled_dot_product_attention(*map(between, (q, k, v)), attn_mask=mask)
            for q, k, v, mask in calls
        ]
        return tuple(between(out) for out in outs)

    def common(flat: Tensors) -> Tensors:
        starts = range(0, len(flat), len(masks))
        return tuple(
            _unpad(flat[start : start + len(masks)], sizes, groups, head_major) for start in starts
        )

    return Contender(function, leaves([t for parts in inputs for t in parts]), tuple(grads), common)


def padded_on_the_way(sizes: Sequence[int], *, causal: bool) -> Callable[..., Tensor]:
    """From query, key and value ``[1, H, N, D]`` to the output, through ``[batch, H, most, D]``."""
    count, most = torch.tensor(sizes), max(sizes)
    slot = torch.arange(most)
    held = slot < count[:, None]
    node = (count.cumsum(0) - count)[:, None] + torch.minimum(slot, count[:, None] - 1)
    back = held.flatten().nonzero()[:, 0]
    mask = None if causal else held[:, None, None]

    def attend(*tensors: Tensor) -> Tensor:
        rows = [t[0][:, node].transpose(0, 1) for t in tensors]
        out = scaled_dot_product_attention(*rows, attn_mask=mask, is_causal=causal)
        return out.transpose(0, 1).flatten(1, 2)[None, :, back]

    return attend


def masked(graph: ew.Graph) -> Callable[..., Tensor]:
    """The same on all pairs."""
    mask = ew.lower(graph, ew.DenseMask).mask
    return lambda *tensors: scaled_dot_product_attention(*tensors, attn_mask=mask)


def _mask(sizes: Sequence[int], *, boolean: bool) -> Tensor:
    """Which keys are there: ``[graphs, 1, 1, longest]``."""
    there = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None, None, None]
    return there if boolean else torch.zeros(there.shape).masked_fill(~there, -torch.inf)


def _pad(
    packed: Tensor, sizes: Sequence[int], groups: list[list[int]], head_major: bool
) -> list[Tensor]:
    parts = packed.split(list(sizes))
    blocks = [
        nn.utils.rnn.pad_sequence([parts[graph] for graph in group], batch_first=True)
        for group in groups
    ]
    return [block.transpose(1, 2).contiguous() for block in blocks] if head_major else blocks


def _unpad(
    blocks: Sequence[Tensor], sizes: Sequence[int], groups: list[list[int]], head_major: bool
) -> Tensor:
    found: dict[int, Tensor] = {}
    for block, group in zip(blocks, groups, strict=True):
        nodes_first = block.transpose(1, 2) if head_major else block
        found |= {graph: nodes_first[i, : sizes[graph]] for i, graph in enumerate(group)}
    return torch.cat([found[graph] for graph in range(len(sizes))])


# --- Aggregation -----------------------------------------------------------------------------


def aggregations(graph: ew.Graph, channels: int, reduce: str, backend: str) -> dict[str, Contender]:
    """Sum or mean over sources: ours, torch's sparse matrices, and gather with scatter."""
    csr, found = ew.lower(graph, ew.Csr), ew.edges(graph)
    T, S = graph.num_targets, graph.num_sources
    degree = csr.indptr.diff().clamp(min=1).float()
    inputs, grad_out = leaves([torch.randn(S, channels)]), torch.randn(T, channels)

    ones = torch.ones(csr.num_edges)
    values = 1 / degree[csr.target] if reduce == "mean" else ones
    weights = torch.sparse_csr_tensor(csr.indptr.int(), csr.indices.int(), values, (T, S))
    # The backward of torch.sparse.mm(reduce=) is wrong with int32 once T * S passes 2**31.
    reduced = torch.sparse_csr_tensor(csr.indptr, csr.indices, ones, (T, S))

    def scatter(x: Tensor) -> Tensor:
        out = x.new_zeros(T, channels).index_add(0, found.target, x.index_select(0, found.source))
        return out / degree[:, None] if reduce == "mean" else out

    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "ours": lambda x: ew.aggregate(x, graph, reduce, backend=backend),  # type: ignore[arg-type]
        "CSR matrix": lambda x: weights @ x,
        "CSR matrix, torch.sparse.mm(reduce=)": lambda x: torch.sparse.mm(reduced, x, reduce),
        "index_add": scatter,
        "compiled index_add": torch.compile(scatter, dynamic=False, fullgraph=True),
    }
    return {name: Contender(function, inputs, grad_out) for name, function in functions.items()}
