"""Explanations of the plans of the attentions of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgewise.functional import explain as explain_call
from edgewise.integrations.huggingface.interface import AttentionCall
from edgewise.integrations.huggingface.layer_weights import call_observed
from edgewise.planning.explain import Explanation

__all__ = ["LayerExplanation", "explain"]


@dataclass(frozen=True, eq=False)
class LayerExplanation:
    """Explanation of the plan of all attentions of a model with the same problem.

    Attributes:
        layers: Their numbers among all attentions of the call, in the order in which they ran.
        module: Their class.
        explanation: As `edgewise.explain` gives it.
    """

    layers: tuple[int, ...]
    module: str
    explanation: Explanation

    def __str__(self) -> str:
        numbers = ", ".join(map(str, self.layers))
        return f"Attention {numbers} ({self.module})\n{self.explanation}"


def explain(
    model: Callable[..., Any], inputs: Mapping[str, Any], *, analyze: bool = False
) -> list[LayerExplanation]:
    """Run a model, and explain each of its attentions; those that are alike once.

    Args:
        model: A model that uses Edgewise; see `use`.
        inputs: What it is called with.
        analyze: Whether to run every plan too, and measure it.

    Raises:
        ArgumentError: no attention of the model came to Edgewise.

    Complexity: the call itself, and a plan for each kind of attention.

    Example:
        >>> import torch
        >>> from transformers import BertConfig, BertModel
        >>> from edgewise.integrations.huggingface import use
        >>> sizes = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> model = use(BertModel(BertConfig(**sizes, intermediate_size=8, vocab_size=10))).eval()
        >>> (layer,) = explain(model, dict(input_ids=torch.tensor([[1, 2, 3]])))
        >>> layer.layers, layer.module
        ((0, 1), 'BertSelfAttention')
    """
    numbers: dict[tuple[Any, ...], list[int]] = {}
    explanations: dict[tuple[Any, ...], Explanation] = {}

    def keep(number: int, call: AttentionCall) -> None:
        key = (
            *(type(call.module).__name__, call.batch.graph, call.score, call.dropout),
            *(tuple(call.query.shape), tuple(call.key.shape), tuple(call.value.shape)),
            *(call.query.dtype, call.backend, None if call.bias is None else call.bias.kind),
            None if call.bias is None else tuple(call.bias.values.shape),
        )
        if key not in explanations:
            explanations[key] = explain_call(
                *(call.query, call.key, call.value, call.batch.graph),
                score=call.score,
                bias=call.bias,
                dropout=call.dropout,
                backend=call.backend,
                analyze=analyze,
            )
        numbers.setdefault(key, []).append(number)

    call_observed("explain", model, inputs, keep)
    return [
        LayerExplanation(tuple(numbers[key]), key[0], explanations[key]) for key in explanations
    ]
