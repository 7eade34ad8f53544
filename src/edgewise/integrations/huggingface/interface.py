"""The attention function that Transformers calls, in every layer of a model that uses Edgewise."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from edgewise.errors import ArgumentError, ShapeError
from edgewise.extras import require
from edgewise.functional import attention, attention_state, weights
from edgewise.graphs import Complete, recall
from edgewise.integrations.huggingface.batch import BatchGraph
from edgewise.integrations.huggingface.masks import mask_function, without_mask
from edgewise.integrations.huggingface.rules import Rule, rule_of
from edgewise.layouts import edges
from edgewise.ops.bias import Bias, DenseBias, as_bias
from edgewise.ops.scores import Dot
from edgewise.ops.state import AttentionState

__all__ = ["NAME", "Look", "Seen", "attend", "looking", "register", "use"]

NAME = "edgewise"

# What layers are told beside their tensors, and what other implementations read; the graph, or
# somebody else in the model, has taken care of all of it.
_KNOWN = frozenset(
    {
        *("cache_position", "deterministic", "is_causal", "layer_head_mask", "layer_idx"),
        *("logits_to_keep", "max_length_k", "max_length_q", "num_items_in_batch"),
        *("output_attentions", "output_hidden_states", "output_router_logits", "position_ids"),
        *("return_dict", "sliding_window", "token_type_ids", "use_cache", "attn_implementation"),
    }
)
_TEXTS = ("cu_seq_lens_q", "cu_seq_lens_k", "seq_idx")


def register() -> None:
    """Make ``attn_implementation="edgewise"`` known to Transformers, in this process.

    After it, ``AutoModel.from_pretrained(..., attn_implementation="edgewise")`` and
    ``model.set_attn_implementation("edgewise")`` run every model that goes through Transformers'
    attention interface; for other models both only log a warning, so `use` is better.

    Raises:
        ModuleNotFoundError: Transformers is not installed.

    Example:
        >>> register()
    """
    transformers = require("transformers", "huggingface")
    transformers.AttentionInterface.register(NAME, attend)
    transformers.AttentionMaskInterface.register(NAME, mask_function)


def use(model: Any) -> Any:
    """Let a model of Transformers compute its attention with Edgewise; returns the model.

    Raises:
        ArgumentError: the model does not go through Transformers' attention interface.
        ModuleNotFoundError: Transformers is not installed.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> model = use(BertModel(BertConfig(**sizes, intermediate_size=8, vocab_size=10)))
        >>> model(torch.tensor([[1, 2, 3]])).last_hidden_state.shape
        torch.Size([1, 3, 8])
    """
    register()
    logging = require("transformers.utils.logging", "huggingface")
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # what it would warn of is an error here
    try:
        model.set_attn_implementation(NAME)
    finally:
        logging.set_verbosity(before)
    if model.config._attn_implementation != NAME:
        raise ArgumentError(
            f"use: {type(model).__name__} computes its attention by itself, without Transformers' "
            f"attention interface. Use it as it is, or another model."
        )
    return model


# --- Looking at weights ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Seen:
    """One attention, as it happens.

    Attributes:
        module: The layer.
        query: ``[B, H, T, D]``, or ``[H, T, D]`` if the graph is not shared.
        key: The same of sources.
        batch: Who reads whom.
        score: How strongly.
        lse: ``[B, H, T]`` or ``[H, T]``, sinks included.
        bias: What is added to the scores.
    """

    module: nn.Module
    query: Tensor
    key: Tensor
    batch: BatchGraph
    score: Dot
    lse: Tensor
    bias: Bias | None


Look = Callable[[Seen], None]
_LOOKS: list[Look] = []


@contextmanager
def looking(look: Look) -> Generator[None]:
    """Show every attention of this block to a function."""
    _LOOKS.append(look)
    try:
        yield
    finally:
        _LOOKS.remove(look)


# --- The function ---------------------------------------------------------------------------------


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **rest: Any,
) -> tuple[Tensor, Tensor | None]:
    r"""Attention of one layer, on the graph of the batch.

    A sink :math:`z_h` is one more score, of nothing: with the log-sum-exp :math:`\ell_i` of the
    others, outputs shrink by :math:`\sigma(\ell_i - z_h)`, exactly.

    Args:
        module: The layer.
        query: ``[B, H, Q, D]``.
        key: ``[B, G, K, D]``.
        value: ``[B, G, K, Dv]``.
        attention_mask: A `BatchGraph`, a mask ``[B | 1, H | 1, Q, K]`` of booleans (True where
            there is an edge) or numbers (added to the scores), or None for no mask.
        dropout: Share of weights dropped.
        scaling: Factor of the scores.
        is_causal: Whether no mask means a causal one; the layer's own ``is_causal`` when None.
        position_bias: ``[B | 1, H, Q, K]``, added to the scores (T5).
        softcap: Limit of the scores (Gemma 2).
        s_aux: ``[H]``, sinks (GPT-OSS).
        rest: What else a layer says; something that is not known is refused.

    Returns:
        ``[B, Q, H, Dv]``, and the weights ``[B, H, Q, K]`` before dropout if they were asked for.

    Raises:
        ArgumentError: something is said that would change the result, and is not known here.
        ShapeError: a mask of another size.
    """
    batch, given = _graph_of(module, query, key, attention_mask, is_causal)
    _check_known(module, batch, rest)
    if query.shape[0] < key.shape[0]:
        query = query.expand(key.shape[0], -1, -1, -1)  # learned queries, the same for all
    frame = _Frame(batch, query.shape[0], query.shape[2], key.shape[2])
    tensors = frame.targets(query), frame.sources(key), frame.sources(value)
    score = Dot(scaling, softcap)
    bias = frame.bias(position_bias, given, query)
    rate = float(dropout)
    wanted = bool(_LOOKS) or _weights_wanted(rest)
    if s_aux is None and not wanted:
        out = attention(*tensors, batch.graph, score=score, bias=bias, dropout=rate)
        return frame.whole(out), None
    state = attention_state(*tensors, batch.graph, score=score, bias=bias, dropout=rate)
    out, lse = _with_sinks(state, s_aux)
    if not wanted:
        return frame.whole(out), None
    for look in _LOOKS:
        look(Seen(module, tensors[0], tensors[1], batch, score, lse, as_bias(bias)))
    found = None
    if _weights_wanted(rest):
        alpha = weights(tensors[0], tensors[1], batch.graph, lse, score=score, bias=bias)
        found = frame.matrix(alpha.to(query.dtype))
    return frame.whole(out), found


def _with_sinks(state: AttentionState, sinks: Tensor | None) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp with one more score for each head, that of nothing."""
    if sinks is None:
        return state.out, state.lse
    sink = sinks.to(state.lse.dtype)[:, None]
    share = torch.sigmoid(state.lse - sink)[..., None]
    return (state.out * share).to(state.out.dtype), torch.logaddexp(state.lse, sink)


class _Frame:
    """The tensors of a batch as its graph wants them, and back."""

    def __init__(self, batch: BatchGraph, size: int, queries: int, keys: int) -> None:
        self.batch, self.size, self.queries, self.keys = batch, size, queries, keys

    def targets(self, table: Tensor) -> Tensor:
        return self._read(table, self.batch.rows, self.queries, self.batch.targets)

    def sources(self, table: Tensor) -> Tensor:
        return self._read(table, self.batch.columns, self.keys, self.batch.sources)

    def _read(
        self, table: Tensor, part: tuple[int, int], length: int, nodes: Tensor | None
    ) -> Tensor:
        """``[B, H, N, D]`` as it is or without some rows, or ``[H, nodes, D]``."""
        if nodes is None:
            return table if part == (0, length) else table[:, :, part[0] : part[1]]
        # Layers split heads after projecting, so that the heads of a token lie together.
        rows = table.transpose(1, 2).flatten(0, 1)
        return rows.index_select(0, nodes.to(rows.device)).transpose(0, 1).contiguous()

    def whole(self, out: Tensor) -> Tensor:
        """The result as ``[B, Q, H, Dv]``, zeros where nothing was read."""
        nodes = self.batch.targets
        if nodes is not None:
            rows = out.new_zeros(self.size * self.queries, out.shape[0], out.shape[2])
            rows.index_copy_(0, nodes.to(out.device), out.transpose(0, 1))
            return rows.unflatten(0, (self.size, self.queries))
        first, last = self.batch.rows
        if (first, last) != (0, self.queries):
            out = nn.functional.pad(out, (0, 0, first, self.queries - last))
        return out.transpose(1, 2)

    def bias(
        self, position: Tensor | None, given: Tensor | None, query: Tensor
    ) -> Bias | Tensor | None:
        """What is added to the scores: the model's position bias and its mask."""
        own = self.batch.mask
        added = None if own is None else _numbers(own.to(query.device), query.dtype)
        if given is not None:
            added = _numbers(given, query.dtype)
        if position is None:
            return None if added is None else DenseBias(added)
        if not self.batch.shared:
            return self._of_edges(position)
        (t0, t1), (s0, s1) = self.batch.rows, self.batch.columns
        position = position[..., t0:t1, s0:s1]
        return DenseBias(position if added is None else position + added)

    def _places(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Sequence, query and key of each edge."""
        batch = self.batch
        found = recall(batch.graph, "edges", lambda: edges(batch.graph))
        if batch.targets is None or batch.sources is None:
            row, column = found.target + batch.rows[0], found.source + batch.columns[0]
            return torch.zeros_like(row).to(device), row.to(device), column.to(device)
        row, column = batch.targets[found.target], batch.sources[found.source]
        number = row // self.queries
        return number.to(device), (row % self.queries).to(device), (column % self.keys).to(device)

    def _of_edges(self, position: Tensor) -> Tensor:
        """``[1 | B, H, Q, K]`` as one number for each edge: ``[H, E]``."""
        number, row, column = self._places(position.device)
        place = row * self.keys + column
        if position.shape[0] > 1:
            place = place + number * (self.queries * self.keys)
        return position.transpose(0, 1).flatten(1).index_select(1, place)

    def matrix(self, alpha: Tensor) -> Tensor:
        """Weights of edges ``[.., E]`` as ``[B, H, Q, K]``, as other implementations give them."""
        number, row, column = self._places(alpha.device)
        B, Q, K = self.size, self.queries, self.keys
        place = (number * Q + row) * K + column
        if self.batch.shared:
            new = alpha.new_zeros(*alpha.shape[:2], Q * K)
            return new.index_copy_(2, place, alpha).unflatten(2, (Q, K))
        new = alpha.new_zeros(alpha.shape[0], B * Q * K)
        return new.index_copy_(1, place, alpha).unflatten(1, (B, Q, K)).transpose(0, 1)


def _numbers(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as numbers that are added."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, -torch.inf)


# --- Which graph ----------------------------------------------------------------------------------

# The rule that a layer without masks followed: the backward pass may run it once more (gradient
# checkpointing) when the block that set the rule is over.
_FOLLOWED: WeakKeyDictionary[nn.Module, Rule | None] = WeakKeyDictionary()


def _graph_of(
    module: nn.Module, query: Tensor, key: Tensor, mask: Any, is_causal: bool | None
) -> tuple[BatchGraph, Tensor | None]:
    """The graph of the batch, and a mask of numbers or booleans if the model gave one."""
    B, Q, K = max(query.shape[0], key.shape[0]), query.shape[2], key.shape[2]
    shape = (B, 1, Q, K)
    if isinstance(mask, BatchGraph):
        fits = mask.shape == shape or (mask.shared and mask.shape[2:] == shape[2:])
        if not fits:
            raise ShapeError(
                f"attention_mask is a graph of shape {list(mask.shape)} but {_name(module)} has "
                f"queries and keys of {list(shape)}. Build it for this batch."
            )
        return mask, None
    if isinstance(mask, Tensor):
        if mask.ndim != 4 or mask.shape[-2] not in (1, Q) or mask.shape[-1] != K:
            raise ShapeError(
                f"attention_mask must have shape [batch, heads, queries, keys] = "
                f"{[B, query.shape[1], Q, K]} where {_name(module)} reads it, got "
                f"{list(mask.shape)}. Leave it to the model to make one."
            )
        graph = Complete(Q, K)
        return BatchGraph(graph, shape, True, (0, Q), (0, K)), mask.expand(-1, -1, Q, -1)
    if mask is not None:
        raise ArgumentError(
            f"attention_mask must be a graph, a tensor or None where {_name(module)} reads it, got "
            f"{type(mask).__name__}. Prepare the model with use(model)."
        )
    _check_registered()
    causal = getattr(module, "is_causal", False) if is_causal is None else is_causal
    return without_mask(query, key, causal=bool(causal), rule=_rule_without_mask(module)), None


def _rule_without_mask(module: nn.Module) -> Rule | None:
    if torch.compiler.is_compiling():
        return None
    if torch._C._current_graph_task_id() != -1:  # pyright: ignore[reportPrivateUsage]
        return _FOLLOWED.get(module)  # the backward pass is running
    rule = rule_of(getattr(module, "config", None))
    _FOLLOWED[module] = rule
    return rule


def _check_registered() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS as MASKS

    if MASKS._global_mapping.get(NAME) is not mask_function:  # pyright: ignore[reportPrivateUsage]
        raise ArgumentError(
            f"attention_mask was lost: {NAME!r} is registered for attention but not for masks. "
            f"Call edgewise.integrations.huggingface.register()."
        )


def _check_known(module: nn.Module, batch: BatchGraph, rest: dict[str, Any]) -> None:
    for name, value in rest.items():
        if name in _KNOWN or value is None or value is False:
            continue
        if name in _TEXTS:
            if name == "seq_idx" or len(value) - 1 == batch.texts:
                continue
            raise ArgumentError(
                f"{name} says that there are {len(value) - 1} texts but the graph of the batch has "
                f"{batch.texts}. Give position_ids that start anew with each text, and no "
                f"attention_mask."
            )
        raise ArgumentError(
            f"{_name(module)} passes {name}, which Edgewise does not know and would ignore. Use "
            f"another attn_implementation for this model."
        )


def _name(module: nn.Module) -> str:
    return type(module).__name__


def _weights_wanted(rest: dict[str, Any]) -> bool:
    """Whether somebody collects attention weights: asked for here, or by the model's hooks."""
    if rest.get("output_attentions"):
        return True
    from transformers.utils import output_capturing

    collected = output_capturing._active_collector.get()  # pyright: ignore[reportPrivateUsage]
    return collected is not None and any("attentions" in name for name in collected)
