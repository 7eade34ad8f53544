"""Why the attentions of a model are computed as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgewise.functional import explain as explain_call
from edgewise.integrations.huggingface.interface import Seen
from edgewise.integrations.huggingface.weights import call_watched
from edgewise.planning.explain import Explanation

__all__ = ["LayerExplanation", "explain"]


@dataclass(frozen=True, eq=False)
class LayerExplanation:
    """Why attentions of a model that pose the same problem are computed as they are.

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
        >>> (found,) = explain(model, dict(input_ids=torch.tensor([[1, 2, 3]])))
        >>> found.layers, found.module
        ((0, 1), 'BertSelfAttention')
    """
    numbers: dict[tuple[Any, ...], list[int]] = {}
    found: dict[tuple[Any, ...], Explanation] = {}

    def keep(number: int, seen: Seen) -> None:
        key = (
            *(type(seen.module).__name__, seen.batch.graph, seen.score, seen.dropout),
            *(tuple(seen.query.shape), tuple(seen.key.shape), tuple(seen.value.shape)),
            *(seen.query.dtype, seen.backend, None if seen.bias is None else seen.bias.kind),
            None if seen.bias is None else tuple(seen.bias.values.shape),
        )
        if key not in found:
            found[key] = explain_call(
                *(seen.query, seen.key, seen.value, seen.batch.graph),
                score=seen.score,
                bias=seen.bias,
                dropout=seen.dropout,
                backend=seen.backend,
                analyze=analyze,
            )
        numbers.setdefault(key, []).append(number)

    call_watched("explain", model, inputs, keep)
    return [LayerExplanation(tuple(numbers[key]), key[0], found[key]) for key in found]
