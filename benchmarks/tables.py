"""Write the tables of README and docs from the results in this folder.

A page says where a table stands by two comments, which stay; what is between them is replaced:

    <!-- table: speed -->
    <!-- end of table -->

    python benchmarks/tables.py [--check]

Each number is the newest that was measured, on whichever processor that was; the last column says
on which, and when. Ratios are those of the smallest times and are cut off, never rounded up.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from _lines import (
    BOTH,
    COMPILED,
    FORWARD,
    Cells,
    bigbird,
    choice,
    documents,
    encodings,
    epochs,
    memory,
    pretrained,
    shapes,
    sparse,
    steps,
    windows,
)
from _results import markdown

ROOT = Path(__file__).parents[1]
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def speed() -> list[Cells]:
    """The table of README: any shape, then the best known peers of a few kinds of work."""
    return [
        *shapes("attention", "attention, 1 to 16 heads of 1 to 160 channels"),
        *shapes("sums", "sums over sources, 1 to 160 channels"),
        *sparse("citation", "Cora, 8 heads of 8", "compiled plain", COMPILED),
        *sparse("GATConv", "power law, layer", "PyG GATConv", "PyTorch Geometric's `GATConv`"),
        *sparse(
            "molecules",
            "256 molecules as complete graphs",
            "sorted and padded SDPA",
            "sorted and padded `scaled_dot_product_attention`",
        ),
        *windows()[:1],
        *bigbird()[:1],
        *documents()[:1],
        *epochs("tolokers, GAT", "GAT on tolokers"),
        *pretrained()[-1:],
        *steps(lambda row: row["peer"] == "HF BertModel, padded"),
    ]


def kernels() -> list[Cells]:
    """Sparse kernels."""
    layers = [
        line
        for name in ("TransformerConv", "GATConv", "GATv2Conv")
        for line in sparse(name, "power law, layer", f"PyG {name}", f"PyTorch Geometric's `{name}`")
    ]
    molecules = [
        line
        for work, peer, against in (
            ("molecules", "padded SDPA", "padded `scaled_dot_product_attention`"),
            ("molecules", "sorted and padded SDPA", "sorted and padded bucket by bucket"),
            ("molecules, nested", "nested SDPA", "nested `scaled_dot_product_attention`"),
        )
        for line in sparse(work, "256 molecules as complete graphs", peer, against)
    ]
    sums = [
        line
        for name in ("sum", "mean")
        for line in sparse(
            f"{name} over sources",
            f"{name} over sources, 128 channels",
            "CSR matrix",
            "a `torch.sparse` CSR matrix",
        )
    ]
    bfloat16 = "ours, bfloat16"
    return [
        *sparse("citation", "Cora, 8 heads of 8", "compiled plain", COMPILED),
        *sparse("power law", "power law, 8 heads of 16", "compiled plain", COMPILED),
        *sparse(
            "power law", "the same in bfloat16", "compiled plain", "the same in float32", bfloat16
        ),
        *sparse(
            "power law, eager", "power law, 8 heads of 16", "plain", "the plain formula, eager"
        ),
        *layers,
        *memory(),
        *molecules,
        *sums,
        *shapes("attention", "attention, 1 to 16 heads of 1 to 160 channels"),
        *shapes("sums", "sums over sources, 1 to 160 channels"),
    ]


def tiles() -> list[Cells]:
    """Dense tiles, buckets of blocks, and plans of several parts."""
    return [*windows(), *bigbird(), *documents()]


def models() -> list[Cells]:
    """Models in practice."""
    return [
        *epochs("tolokers, GAT", "GAT on tolokers"),
        *epochs("power law, GATConv", "GAT on the power law"),
        *epochs("power law, TransformerConv", "TransformerConv on the power law"),
        *epochs("Cora, 64 features", "GAT on Cora with 64 features"),
        *epochs("Cora, GAT", "GAT on Cora as published"),
        *encodings(),
        *pretrained(),
        *steps(),
    ]


HEADERS = ["work", "against", FORWARD, BOTH, "measured on"]
TABLES: dict[str, tuple[list[str], Callable[[], list[Cells]]]] = {
    "speed": (HEADERS, speed),
    "kernels": (HEADERS, kernels),
    "tiles": (HEADERS, tiles),
    "models": (HEADERS, models),
    "choice": (["what", "takes", "measured on"], choice),
}


def render(name: str) -> str:
    """A table as Markdown.

    Raises:
        LookupError: there is no such table, or a number that it needs was not measured.
    """
    if name not in TABLES:
        raise LookupError(f"There is no table {name!r}; there are {', '.join(TABLES)}.")
    headers, lines = TABLES[name]
    return markdown(headers, lines())


def filled(page: str) -> str:
    """The page with each of its tables as the results have it."""
    return MARKED.sub(lambda found: f"{found[1]}{render(found[2])}\n{found[3]}", page)


def pages() -> list[Path]:
    """README and docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> int:
    """Write the tables, or say which pages differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, fail if pages differ")
    options = parser.parse_args()
    differ = []
    for page in pages():
        text = page.read_text("utf-8")
        if (new := filled(text)) != text:
            differ.append(page.relative_to(ROOT).as_posix())
            if not options.check:
                page.write_text(new, "utf-8")
    if not differ:
        print("All tables are as measured.")
    elif options.check:
        names = ", ".join(differ)
        print(
            f"Other numbers than measured: {names}. Run: python benchmarks/tables.py",
            file=sys.stderr,
        )
    else:
        print(f"Written: {', '.join(differ)}")
    return 1 if differ and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
