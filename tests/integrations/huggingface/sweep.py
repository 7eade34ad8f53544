"""Every architecture of Transformers that can be built small, with Edgewise and without.

A configuration is shrunk by the names of its settings; what stays too large, or wants inputs that
are not built here, is counted as not built. Written into the page of the integration by

    python -m tests.integrations.huggingface.sweep docs/huggingface.md
"""

from __future__ import annotations

import copy
import importlib
import inspect
import json
import math
import signal
import sys
import threading
import warnings
import zlib
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgewise.errors import EdgewiseError
from edgewise.integrations import huggingface

MAPPINGS = {
    "causal language model": "MODEL_FOR_CAUSAL_LM_MAPPING",
    "base model": "MODEL_MAPPING",
    "encoder and decoder": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "masked language model": "MODEL_FOR_MASKED_LM_MAPPING",
    "image classification": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING",
    "token classification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING",
    "sequence classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
}
SIZES: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim"), 32),
    "word_embed_proj_dim": 32,
    **dict.fromkeys(("embedding_size", "emb_dim", "projection_dim", "text_embed_dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 4),
    **dict.fromkeys(("head_dim", "d_kv", "global_head_dim"), 8),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "d_ff", "hidden_dim"), 48),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "mlp_dim", "ffn_hidden_size"), 48),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "n_group", "topk_group"), 1),
    **dict.fromkeys(("vocab_size", "text_vocab_size", "vocab_size_per_layer_input"), 99),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 64),
    **dict.fromkeys(("max_source_positions", "max_target_positions"), 64),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim"), 8),
    **dict.fromkeys(("v_head_dim", "qk_head_dim", "hidden_size_per_layer_input"), 8),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 1),
    "image_size": 32,
    "patch_size": 8,
    "num_mel_bins": 8,
    "num_labels": 3,
    "attention_window": 4,
    "sliding_window": 4,
    "first_k_dense_replace": 1,
    "mamba_d_state": 8,
    "n_shared_experts": 1,
}
DROPOUTS = ("dropout", "drop")
MOST_WEIGHTS = 10_000_000
MOST_SECONDS = 20.0  # of a processor, for one class
BOUND = 2e-4
PADDINGS = ("none", "left", "right", "holes")


@dataclass(frozen=True)
class Finding:
    """What came of one class.

    Attributes:
        kind: The mapping that it is of.
        name: Its name.
        outcome: ``equal``, ``equal with dense_masks``, ``refused``, ``not built`` or ``differs``.
        detail: The reference and the error, or the sentence.
    """

    kind: str
    name: str
    outcome: str
    detail: str


def classes(shard: int = 0, shards: int = 1) -> Iterator[tuple[str, Any, Any]]:
    """Kind, config class and model class of all architectures of a shard; a class once."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    done: set[str] = set()
    for kind, mapping in MAPPINGS.items():
        table = getattr(auto, mapping)
        for config in sorted(table, key=lambda each: each.__name__):
            try:
                found = table[config]
            except ValueError:
                continue  # named by Transformers, and not there
            for model in found if isinstance(found, tuple) else (found,):
                if model.__name__ in done or zlib.crc32(model.__name__.encode()) % shards != shard:
                    continue
                done.add(model.__name__)
                yield kind, config, model


def shrunk(kind: Any) -> Any:
    """A small configuration of a class."""
    whole = kind()
    held = vars(whole)
    settings: dict[str, Any] = {}
    for name, value in held.items():
        if name in SIZES and (value is None or isinstance(value, int)):
            if value is not None:
                settings[name] = min(value, SIZES[name]) if value > 0 else value
        elif isinstance(value, float) and any(word in name for word in DROPOUTS):
            settings[name] = 0.0
    for name in getattr(kind, "sub_configs", None) or {}:
        part = held.get(name)
        if part is not None:
            settings[name] = shrunk(type(part)).to_dict()
    return kind(**settings)


def inputs_of(model: Any, padding: str) -> tuple[dict[str, Any], torch.Tensor | None]:
    """Inputs that fit a model's forward, and which tokens are real."""
    torch.manual_seed(2)
    names = inspect.signature(model.forward).parameters
    main = model.main_input_name
    config = model.config.get_text_config()
    held = None
    found: dict[str, Any] = {}
    if main == "pixel_values":
        size = getattr(model.config, "image_size", None) or 32
        height, width = size if isinstance(size, list | tuple) else (size, size)
        found[main] = torch.randn(2, getattr(model.config, "num_channels", 3) or 3, height, width)
        return found, None
    if main != "input_ids":
        raise NotImplementedError(f"inputs called {main}")
    ids = torch.randint(3, int(config.vocab_size), (2, 12))
    found["input_ids"] = ids
    if padding != "none" and "attention_mask" in names:
        held = torch.ones(2, 12, dtype=torch.bool)
        if padding == "left":
            held[0, :5] = False
        elif padding == "right":
            held[0, 7:] = False
        else:
            held[0, 4:6] = False
        found["attention_mask"] = held.long()
        if getattr(config, "pad_token_id", None) is not None:
            found["input_ids"] = ids.masked_fill(~held, config.pad_token_id)
    if "decoder_input_ids" in names:
        found["decoder_input_ids"] = torch.randint(3, int(config.vocab_size), (2, 7))
        held = None
    return found, held


def output(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The first table that a model gives back."""
    torch.manual_seed(3)  # some draw masks or noise
    found = model(**inputs)
    for name in ("logits", "last_hidden_state"):
        value = getattr(found, name, None)
        if isinstance(value, torch.Tensor):
            return value
    values = found if isinstance(found, tuple) else found.values()
    return next(each for each in values if isinstance(each, torch.Tensor) and each.ndim > 1)


@torch.no_grad()
def built(config: Any, model: Any) -> Any:
    """A small model with random weights, large enough that no softmax is flat."""
    small = shrunk(config)
    with torch.device("meta"):
        count = sum(weight.numel() for weight in model(copy.deepcopy(small)).parameters())
    if count > MOST_WEIGHTS:
        raise NotImplementedError(f"{count:,} weights")
    torch.manual_seed(1)
    small._experts_implementation = "eager"
    made = model(small).eval().float()
    for name, weight in made.named_parameters():
        if weight.ndim > 1 and "embed" not in name:
            weight.data *= 3.0
    return made


@contextmanager
def at_most(seconds: float) -> Generator[None]:
    """Raise when a block has taken so much time of a processor; in the main thread alone."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"takes more than {seconds:.0f} seconds")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def compared(kind: str, config: Any, model: Any) -> Finding:
    """One class with Edgewise and with its own attention."""
    name = model.__name__
    try:
        with at_most(MOST_SECONDS):
            theirs = built(config, model)
            expected = {each: output(theirs, inputs_of(theirs, each)[0]) for each in PADDINGS}
    except Exception as error:  # whatever a class wants that is not built here
        return Finding(kind, name, "not built", _first(error))
    try:
        return _judged(kind, name, theirs, expected, {})
    except (EdgewiseError, AttributeError) as error:
        if "dense_masks" not in str(error):
            return Finding(kind, name, "refused", _first(error))
    except Exception as error:
        return Finding(kind, name, "differs", f"{type(error).__name__}: {_first(error)}")
    try:
        return _judged(kind, name, theirs, expected, {"dense_masks": True})
    except EdgewiseError as error:
        return Finding(kind, name, "refused", _first(error))
    except Exception as error:
        return Finding(kind, name, "differs", f"{type(error).__name__}: {_first(error)}")


def _judged(
    kind: str, name: str, theirs: Any, expected: dict[str, torch.Tensor], settings: dict[str, Any]
) -> Finding:
    reference = theirs.config._attn_implementation
    ours = huggingface.use(copy.deepcopy(theirs), **settings)
    worst = real = 0.0
    for padding, wanted in expected.items():
        inputs, held = inputs_of(ours, padding)
        found = output(ours, inputs)
        worst = max(worst, _difference(found, wanted))
        if held is not None and held.shape == found.shape[:2]:
            real = max(real, _difference(found[held], wanted[held]))
        else:
            real = max(real, _difference(found, wanted))
    same = "equal with dense_masks" if settings else "equal"
    if worst <= BOUND:
        return Finding(kind, name, same, f"{reference}, every row, {worst:.1e}")
    if real <= BOUND:
        return Finding(kind, name, same, f"{reference}, real tokens, {real:.1e}")
    if reference == "sdpa" and not settings:
        # Where a model's own implementations differ from each other, eager is the definition.
        theirs.set_attn_implementation("eager")
        again = {each: output(theirs, inputs_of(theirs, each)[0]) for each in expected}
        return _judged(kind, name, theirs, again, settings)
    return Finding(kind, name, "differs", f"{reference}, real tokens, {real:.1e}")


def _difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Of the largest numbers; 0 where the original itself is not finite."""
    if not wanted.dtype.is_floating_point or not torch.isfinite(wanted).all():
        return 0.0
    error = float((found - wanted).abs().max()) / float(wanted.abs().max().clamp(min=1e-3))
    return float("inf") if math.isnan(error) else error


def _first(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300]


def swept(shard: int = 0, shards: int = 1, names: Collection[str] | None = None) -> list[Finding]:
    """All classes of a shard, or those with some names."""
    logging = importlib.import_module("transformers.utils.logging")
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return [
                compared(*each)
                for each in classes(shard, shards)
                if names is None or each[2].__name__ in names
            ]
    finally:
        logging.set_verbosity(before)


# --- The page -------------------------------------------------------------------------------------

BEGIN, END = "<!-- sweep: begin -->", "<!-- sweep: end -->"


def table(findings: list[Finding]) -> str:
    """Counts by mapping, then every class by outcome."""
    outcomes = ("equal", "equal with dense_masks", "refused", "differs", "not built")
    lines = [f"| kind | {' | '.join(outcomes)} |", "|---|" + "--:|" * len(outcomes)]
    for kind in MAPPINGS:
        own = [each.outcome for each in findings if each.kind == kind]
        lines.append(f"| {kind} | {' | '.join(str(own.count(each)) for each in outcomes)} |")
    for outcome in ("differs", "refused"):
        reasons: dict[str, list[str]] = {}
        for each in findings:
            if each.outcome == outcome:
                reasons.setdefault(each.detail.replace(each.name, "(class)"), []).append(each.name)
        if reasons:
            lines += ["", f"**{outcome.capitalize()}**", ""]
            lines += [f"- {why} {', '.join(sorted(names))}." for why, names in reasons.items()]
    for outcome in ("equal", "equal with dense_masks", "not built"):
        names = ", ".join(sorted(each.name for each in findings if each.outcome == outcome))
        lines += ["", f"**{outcome.capitalize()}**: {names}."]
    return "\n".join(lines)


def main(page: str, *stored: str) -> None:
    """Write the table into a page, from shards that were stored before or from a new sweep."""
    findings = [Finding(**each) for file in stored for each in json.loads(Path(file).read_text())]
    text = Path(page).read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    new = f"{before}{BEGIN}\n{table(findings or swept())}\n{END}{after}"
    Path(page).write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
