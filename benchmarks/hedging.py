"""Do more heads hedge against a bad start?

The folklore: a single head may start from weights that it never recovers from; several heads are
several tickets in that lottery, and dividing scores by the root of the head size makes every
ticket better. Here small networks (two blocks of attention, no MLP) learn to recall: a sequence
lists pairs of a key and a value, then asks for the values of its keys. Each network starts from
its own seed; it has succeeded if it answers at least 90 % after a fixed number of steps. Heads are
counted at the same width (more heads are narrower) and at the same head size (more heads are more
weights), with scaled and with plain scores. The networks of a setting train as one batch. Those
of one head and plain scores are also given four times the steps: are they slow, or stuck?

    python benchmarks/hedging.py [--seeds 24] [--steps 600] [--quick]

Writes an entry of results and docs/hedging.png; docs/hedging.md discusses them.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _harness import arguments, begin, save
from _results import table
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

import edgewise as ew
from edgewise.nn import Block, DotAttention, sinusoidal

WIDTH, BLOCKS, RATE, EXAMPLES = 32, 2, 3e-3, 16
SUCCESS, LOOKS = 0.9, 50  # share of right answers; steps between two looks at it
FIRST_SEED = 1000  # those below were used to choose task, rate and steps
HEADS = (1, 2, 4, 8)
PICTURE = Path(__file__).parents[1] / "docs" / "hedging.png"


@dataclass(frozen=True)
class Setting:
    """Networks that differ in nothing but their seed."""

    pairs: int
    heads: int
    head_dim: int
    scaled: bool
    patience: int = 1  # times as many steps


SERIES: dict[str, list[Setting]] = {
    f"{name}, {'scaled' if scaled else 'plain'}": [
        Setting(pairs, heads, WIDTH // heads if narrower else 8, scaled) for heads in HEADS
    ]
    for name, pairs, narrower, signs in (
        ("same width", 4, True, (True, False)),
        ("same head size", 4, False, (True, False)),
        ("same width, longer", 6, True, (True,)),
    )
    for scaled in signs
} | {"one head, 4 times the steps, plain": [Setting(4, 1, size, False, 4) for size in (WIDTH, 8)]}


class Recall(nn.Module):
    """Words and positions, attention over the past in pre-norm blocks, and a guess at each word."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.length = 4 * setting.pairs  # every pair is shown, and asked for
        symbols = 4 * setting.pairs  # twice as many keys as pairs, and as many values
        self.words = nn.Embedding(symbols, WIDTH)
        self.positions = nn.Parameter(sinusoidal(self.length, WIDTH))
        scale = None if setting.scaled else 1.0
        self.blocks = nn.ModuleList(
            Block(DotAttention(WIDTH, setting.heads, head_dim=setting.head_dim, scale=scale), WIDTH)
            for _ in range(BLOCKS)
        )
        self._start_heads_alike()
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, symbols // 2)

    def _start_heads_alike(self) -> None:
        """Xavier's bound at the same width, whatever the number of heads.

        Its own bound falls with the number of heads where their size is fixed: scores would start
        smaller, and seem to profit from more heads.
        """
        bound = math.sqrt(3 / WIDTH)
        for name, weight in self.blocks.named_parameters():
            if name.endswith("proj.weight"):
                nn.init.uniform_(weight, -bound, bound)

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words) + self.positions
        for block in self.blocks:
            x = block(x, ew.Causal(self.length))
        return self.head(self.norm(x[..., self.length // 2 :: 2, :]))


def questions(count: int, pairs: int, seeds: int, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences ``[seeds, count, 4 pairs]`` and the answers ``[seeds, count, pairs]``."""
    shape, kinds = (seeds, count), 2 * pairs
    keys = torch.rand(*shape, kinds, generator=drawn).argsort(-1)[..., :pairs]
    values = torch.randint(kinds, (*shape, pairs), generator=drawn)
    order = torch.rand(*shape, pairs, generator=drawn).argsort(-1)
    answers = values.gather(-1, order)
    keys, values = torch.cat([keys, keys.gather(-1, order)], -1), torch.cat([values, answers], -1)
    return torch.stack([keys, kinds + values], -1).flatten(-2), answers


def accuracies(setting: Setting, seeds: int, steps: int) -> list[list[float]]:
    """Train one network for each seed, all at once; their shares of right answers at each look."""
    networks: list[nn.Module] = []
    for seed in range(seeds):
        torch.manual_seed(FIRST_SEED + seed)
        networks.append(Recall(setting))
    weights = {name: w.detach() for name, w in stack_module_state(networks)[0].items()}
    weights = {name: w.requires_grad_() for name, w in weights.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=RATE)
    network = vmap(lambda own, words: functional_call(networks[0], own, (words,)))
    drawn = torch.Generator().manual_seed(FIRST_SEED)
    looks: list[Tensor] = []
    for step in range(1, steps + 1):
        words, answers = questions(EXAMPLES, setting.pairs, seeds, drawn)
        guess = network(weights, words)
        # Losses of different networks are added, so that none feels how many there are.
        loss = seeds * F.cross_entropy(guess.flatten(0, 2), answers.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % LOOKS == 0:
            words, answers = questions(64, setting.pairs, seeds, drawn)
            with torch.no_grad():
                right = network(weights, words).argmax(-1) == answers
            looks.append(right.float().mean((1, 2)))
    return torch.stack(looks, 1).tolist()


# --- Statistics ------------------------------------------------------------------------------


def wilson(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    share, extra = successes / count, z * z / count
    middle = (share + extra / 2) / (1 + extra)
    reach = z * math.sqrt(share * (1 - share) / count + extra / (4 * count)) / (1 + extra)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def fisher(a: int, b: int, count: int) -> float:
    """How likely two shares of ``count`` are at least so far apart by chance (two-sided)."""
    total = a + b
    ways = [math.comb(count, i) * math.comb(count, total - i) for i in range(total + 1)]
    here = math.comb(count, a) * math.comb(count, b)
    return sum(way for way in ways if way <= here) / math.comb(2 * count, total)


def row_of(name: str, setting: Setting, looks: list[list[float]], seconds: float) -> dict[str, Any]:
    """What a setting came to, as JSON types."""
    last = [own[-1] for own in looks]
    solved = sum(share >= SUCCESS for share in last)
    low, high = wilson(solved, len(last))
    first = [
        next((LOOKS * (i + 1) for i, share in enumerate(own) if share >= SUCCESS), None)
        for own in looks
    ]
    reached = sorted(math.inf if step is None else step for step in first)
    median = statistics.median_low(reached)
    return {
        "series": name,
        **asdict(setting),
        "seeds": len(last),
        "solved": solved,
        "low": round(low, 3),
        "high": round(high, 3),
        "median_steps": None if math.isinf(median) else median,
        "accuracy": [round(share, 3) for share in last],
        "steps": first,
        "seconds": round(seconds, 1),
    }


def measured(seeds: int, steps: int) -> list[dict[str, Any]]:
    """All settings; one that stands in two series is trained once."""
    known: dict[Setting, tuple[list[list[float]], float]] = {}
    rows: list[dict[str, Any]] = []
    for name, settings in SERIES.items():
        for setting in settings:
            if setting not in known:
                started = time.process_time()
                looks = accuracies(setting, seeds, setting.patience * steps)
                known[setting] = looks, time.process_time() - started
            rows.append(row_of(name, setting, *known[setting]))
            print(f"  {name}, {setting.heads} heads: {rows[-1]['solved']} of {seeds}", flush=True)
    return rows


# --- Showing ---------------------------------------------------------------------------------


def show(rows: list[dict[str, Any]]) -> None:
    """A line for each setting, and what a lottery of independent heads would give."""
    cells = [
        [
            row["series"],
            row["heads"],
            row["head_dim"],
            f"{row['solved']} / {row['seeds']}",
            f"{100 * row['low']:.0f}-{100 * row['high']:.0f} %",
            row["median_steps"] or "-",
        ]
        for row in rows
    ]
    print(table(["series", "heads", "head size", "solved", "95 %", "median steps"], cells))
    for name, settings in SERIES.items():
        if len(settings) < len(HEADS):
            continue
        one, *_, many = (row for row in rows if row["series"] == name)
        chance = fisher(one["solved"], many["solved"], one["seeds"])
        print(f"{name}: 1 head against {many['heads']}, p = {chance:.2g} (Fisher, two-sided)")
        if "head size" in name:
            miss = 1 - one["solved"] / one["seeds"]
            tickets = ", ".join(f"{100 * (1 - miss**heads):.0f} %" for heads in HEADS)
            print(f"  were every head a ticket of its own: {tickets}")


def draw(rows: list[dict[str, Any]]) -> None:
    """Share of successes by heads, one panel for what is held fixed."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {
        "same width (4 pairs)\nhead size 32, 16, 8, 4": "same width, ",
        "same head size (4 pairs)\nhead size 8": "same head size, ",
        "same width, longer (6 pairs)\nhead size 32, 16, 8, 4": "same width, longer, ",
    }
    looks = {"scaled": ("#0072b2", "o", -0.06), "plain": ("#d55e00", "s", 0.06)}
    with rc_context({"font.size": 9}):
        figure = Figure(figsize=(10.2, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), sharey=True)
        for panel, (title, prefix) in zip(axes, panels.items(), strict=True):
            for kind, (color, marker, shift) in looks.items():
                own = [row for row in rows if row["series"] == prefix + kind]
                if not own:
                    continue
                shares = [row["solved"] / row["seeds"] for row in own]
                reach = [
                    [max(0.0, s - row["low"]) for s, row in zip(shares, own, strict=True)],
                    [max(0.0, row["high"] - s) for s, row in zip(shares, own, strict=True)],
                ]
                places = [math.log2(row["heads"]) + shift for row in own]
                words = "scaled by 1/sqrt(D)" if kind == "scaled" else "plain dot products"
                panel.errorbar(
                    places, shares, reach, color=color, marker=marker, capsize=3, label=words
                )
            panel.set_title(title)
            panel.set_xticks([math.log2(heads) for heads in HEADS], [str(h) for h in HEADS])
            panel.set_xlabel("heads")
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(axis="y", alpha=0.3)
        axes[0].set_ylabel(f"share of {rows[0]['seeds']} seeds that succeed")
        axes[0].set_ylim(-0.04, 1.04)
        axes[1].legend(loc="lower right", frameon=False)
        figure.savefig(PICTURE, dpi=150, metadata={"Software": None})


def main() -> None:
    """Measure, print the table, write the JSON and the picture."""
    parser = arguments(__doc__, seconds=None)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--steps", type=int, default=600)
    options = begin(parser)
    if options.quick:
        options.seeds, options.steps = 2, LOOKS
    # Networks side by side run torch's fused kernel one by one, which costs little at this size.
    warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
    started = time.process_time()
    rows = measured(options.seeds, options.steps)
    about = {
        "learning_rate": RATE,
        "steps": options.steps,
        "width": WIDTH,
        "blocks": BLOCKS,
        "examples": EXAMPLES,
        "success": SUCCESS,
        "first_seed": FIRST_SEED,
        "seconds": round(time.process_time() - started),
    }
    show(rows)
    print(f"\n{about['seconds']} s")
    save("hedging", rows, options, **about)
    if not options.quick:
        draw(rows)


if __name__ == "__main__":
    main()
