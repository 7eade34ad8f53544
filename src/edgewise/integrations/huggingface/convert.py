"""Conversion of pretrained models to models of Edgewise: the same numbers, without padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.errors import ArgumentError
from edgewise.graphs import Blocks, Causal, Graph, Window, disjoint_union
from edgewise.integrations.huggingface.batch import Layout, real_intervals
from edgewise.integrations.names import huggingface_names as names
from edgewise.integrations.names.table import Name, to_edgewise
from edgewise.models import bert, gpt2, llama, positions_within, vit

__all__ = ["Unpadded", "convert", "unpadded"]


@dataclass(frozen=True)
class _Conversion:
    """Conversion of a class of models.

    Attributes:
        build: Function from its config to the model of Edgewise.
        names: Names of weights in both.
        settings: Values of the config that are supported.
        rates: Names of its rates of dropout, which have to be equal.
        left_out: Prefixes of the names of weights that the model of Edgewise does not have.
    """

    build: Callable[[Any], nn.Module]
    names: Sequence[Name]
    settings: Mapping[str, tuple[Any, ...]]
    rates: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def convert(model: Any) -> nn.Module:
    """The same model as one of `edgewise.models`, with a copy of its weights.

    ==============================  ==================================================
    of Transformers                 here
    ==============================  ==================================================
    ``BertModel``                   `bert`: a `TextEncoder`, without the pooler
    ``GPT2LMHeadModel``             `gpt2`: a `LanguageModel`
    ``LlamaForCausalLM``            `llama`: a `LanguageModel`
    ``MistralForCausalLM``          `llama` over a sliding window
    ``ViTForImageClassification``   `vit`: a `VisionTransformer`
    ==============================  ==================================================

    Args:
        model: A model of one of these classes.

    Returns:
        The model, in the same mode (training or evaluation), dtype and on the same device.

    Raises:
        ArgumentError: another class, or a setting that is not supported.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
        >>> theirs = BertModel(BertConfig(**sizes, intermediate_size=8, vocab_size=10)).eval()
        >>> tokens = torch.tensor([[1, 2, 3]])
        >>> expected = theirs(tokens).last_hidden_state
        >>> torch.allclose(convert(theirs)(tokens), expected, atol=1e-6)
        True
    """
    conversion = _KINDS.get(type(model).__name__)
    if conversion is None:
        raise ArgumentError(
            f"convert: model must be one of {', '.join(_KINDS)}, got {type(model).__name__}. Run "
            f"it as it is with use(model)."
        )
    _check_settings(model, conversion.settings)
    _check_rates(model, conversion.rates)
    converted = conversion.build(model.config)
    weights = {
        name: weight
        for name, weight in model.named_parameters(remove_duplicate=False)
        if not name.startswith(conversion.left_out)
    }
    first = next(iter(weights.values()))
    converted = converted.to(device=first.device, dtype=first.dtype)
    with torch.no_grad():
        converted.load_state_dict(to_edgewise(weights, conversion.names))
    return converted.train(model.training)


def _check_settings(model: Any, settings: Mapping[str, tuple[Any, ...]]) -> None:
    for name, supported in settings.items():
        got = getattr(model.config, name, supported[0])
        if isinstance(got, dict):
            got = got.get("rope_type")
        if got not in supported:
            expected = " or ".join(repr(each) for each in supported)
            raise ArgumentError(
                f"convert: {type(model).__name__} must have {name}={expected}, got {got!r}, which "
                f"Edgewise's own model does not have. Run it as it is with use(model)."
            )


def _check_rates(model: Any, rates: Sequence[str]) -> None:
    given = {name: getattr(model.config, name) for name in rates}
    if len(set(given.values())) > 1:
        listed = ", ".join(f"{name}={rate}" for name, rate in given.items())
        raise ArgumentError(
            f"convert: {type(model).__name__} must have one rate of dropout, got {listed}. Set "
            f"them to one number first; in evaluation mode none acts."
        )


# --- Configs --------------------------------------------------------------------------------------


def _bert(config: Any) -> nn.Module:
    return bert(
        config.vocab_size,
        dim=config.hidden_size,
        heads=config.num_attention_heads,
        layers=config.num_hidden_layers,
        hidden=config.intermediate_size,
        max_positions=config.max_position_embeddings,
        num_segments=config.type_vocab_size,
        dropout=config.hidden_dropout_prob,
        norm_eps=config.layer_norm_eps,
    )


def _gpt2(config: Any) -> nn.Module:
    return gpt2(
        config.vocab_size,
        dim=config.n_embd,
        heads=config.n_head,
        layers=config.n_layer,
        hidden=config.n_inner,
        max_positions=config.n_positions,
        dropout=config.resid_pdrop,
        norm_eps=config.layer_norm_epsilon,
    )


def _llama(config: Any) -> nn.Module:
    window = getattr(config, "sliding_window", None)
    return llama(
        config.vocab_size,
        dim=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None),
        layers=config.num_hidden_layers,
        hidden=config.intermediate_size,
        base=config.rope_parameters["rope_theta"],
        tied=config.tie_word_embeddings,
        norm_eps=config.rms_norm_eps,
        rule=Causal if window is None else partial(Window, left=window - 1, right=0),
    )


def _vit(config: Any) -> nn.Module:
    model = vit(
        config.num_labels,
        dim=config.hidden_size,
        heads=config.num_attention_heads,
        layers=config.num_hidden_layers,
        hidden=config.intermediate_size,
        image_size=config.image_size,
        patch_size=config.patch_size,
        channels=config.num_channels,
        norm_eps=config.layer_norm_eps,
    )
    return model


_LLAMA_SETTINGS: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "attention_dropout": (0.0,),
    "rope_parameters": ("default",),
}

_KINDS = {
    "BertModel": _Conversion(
        _bert,
        names.BERT,
        {
            "hidden_act": ("gelu",),
            "is_decoder": (False,),
            "position_embedding_type": ("absolute",),
            "add_cross_attention": (False,),
        },
        rates=("hidden_dropout_prob", "attention_probs_dropout_prob"),
        left_out=("pooler.",),
    ),
    "GPT2LMHeadModel": _Conversion(
        _gpt2,
        names.GPT2,
        {
            "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
            "tie_word_embeddings": (True,),
        },
        rates=("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    ),
    "LlamaForCausalLM": _Conversion(_llama, names.LLAMA, _LLAMA_SETTINGS),
    "MistralForCausalLM": _Conversion(_llama, names.LLAMA, _LLAMA_SETTINGS),
    "ViTForImageClassification": _Conversion(
        _vit,
        names.VIT,
        {
            "hidden_act": ("gelu",),
            "qkv_bias": (True,),
            "hidden_dropout_prob": (0.0,),
            "attention_probs_dropout_prob": (0.0,),
        },
    ),
}


# --- Batches --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Unpadded:
    """Inputs of a converted model: the texts of a padded batch, concatenated.

    Attributes:
        tokens: ``[sum(sizes)]``.
        graph: Disjoint union of the texts: `Blocks`, or causal graphs.
        positions: ``[sum(sizes)]``, counted in each text.
        sizes: Tokens of each text.
    """

    tokens: Tensor
    graph: Graph
    positions: Tensor
    sizes: tuple[int, ...]


def unpadded(tokens: Tensor, attention_mask: Tensor, *, causal: bool = False) -> Unpadded:
    """Remove the padding of a batch, so that no layer computes it.

    Args:
        tokens: ``[B, N]``.
        attention_mask: ``[B, N]``, 1 for real tokens, which are contiguous in each row.
        causal: Whether a token reads only the tokens before it, and itself.

    Raises:
        ArgumentError: padding between the tokens of a text.

    Example:
        >>> batch = unpadded(
        ...     torch.tensor([[5, 6, 7], [8, 9, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
        ... )
        >>> batch.tokens.tolist(), batch.graph, batch.positions.tolist()
        ([5, 6, 7, 8, 9], Blocks([3, 2]), [0, 1, 2, 0, 1])
    """
    B, N = tokens.shape
    real = real_intervals(Layout(B, N, N), attention_mask)
    if real is None:
        raise ArgumentError(
            "unpadded: the real tokens of a row must stand together, got padding between them. Pad "
            "at the ends alone."
        )
    sizes = tuple(stop - start for start, stop in real)
    graph = disjoint_union(Causal(size) for size in sizes) if causal else Blocks(sizes)
    held = attention_mask.bool()
    return Unpadded(tokens[held], graph, positions_within(sizes, device=tokens.device), sizes)
