"""Make one of the shipped sets of prices: measured on this machine, or estimated from another.

A set is measured as if the processor had no more than the set is for: ``avx2`` can be measured on
a processor with AVX-512, by telling torch, its math libraries and the native library to use no
more than AVX2. Measure on a quiet machine. What is not measured (other devices, merging)
keeps the prices of the set as it is. A run that was stopped goes on where it was.

    python benchmarks/shipped_prices.py avx512 [--quick] [--seconds X]
    python benchmarks/shipped_prices.py avx2 [--quick] [--seconds X]
    python benchmarks/shipped_prices.py amx --estimate

Without a processor of its kind, ``--estimate`` works a set out from ``avx512`` by the published
ratios below, and the set says so.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import edgewise
from edgewise.cli.lottery_display import LotteryDisplay
from edgewise.lottery import FULL, QUICK, Journal, Lottery, journal_path
from edgewise.planning.price_table import PRICE_SETS, Constants, Price, price_set, shipped

FOLDER = Path(edgewise.__file__).parent / "planning" / "prices"

# What limits a run to the instructions of a set.
LIMITS = {
    "amx": {},
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "EDGEWISE_NATIVE_VARIANT": "x86_64_v3",
    },
}

# Time of bfloat16 over time of float32 in the same kernel with matrix units, at 64 channels:
# forward, and forward with backward. From one core of an Intel Xeon (Sapphire Rapids), torch 2.13.
CHANNELS = 64
MATRIX_UNITS = {
    # 4 operations a pair and channel forward, 10 backward: 126 and 133 GFLOP/s in float32,
    # 371 and 185 in bfloat16.
    "sdpa": (0.34, 0.61),
    # With a mask, 8 heads of 2,048 nodes: 0.032 and 0.11 ns a pair and channel in float32,
    # 0.015 and 0.07 in bfloat16.
    "sdpa + mask": (0.47, 0.64),
    "blocks": (0.47, 0.64),  # the same kernel on small pieces
    # A window of 128 on both sides of 16,384 nodes, 8 heads of 64: 120 and 664 ms in float32,
    # 89 and 483 in bfloat16.
    "tiles": (0.74, 0.73),
}

# Time with vectors of 256 bits over time with vectors of 512 bits.
NATIVE = ("fused tiles", "fused rows", "fused messages")  # 0 to 10 % forward, 0 to 16 % backward
HALF_AS_WIDE = {False: 1.05, True: 1.08}
EXPONENTIALS = 1.5  # of torch's kernels, whose products take as long on two units of 256 bits


def rounded(price: Price) -> Price:
    """Three digits are more than was measured."""
    return Price(*(float(f"{each:.3g}") for each in price))


def joined(found: Constants, before: Constants, machine: dict[str, Any]) -> Constants:
    """The CPU as it was measured, and as it was before for the rest."""
    ways = dict(before.prices["cpu"])
    for way, dtypes in found.prices["cpu"].items():
        ways[way] = {
            dtype: {pass_: rounded(price) for pass_, price in passes.items()}
            for dtype, passes in dtypes.items()
        }
    return Constants(machine, {"cpu": ways}, measured=False)


def estimated(name: str, base: Constants) -> Constants:
    """The set ``name`` worked out from another."""
    change = {"amx": _with_matrix_units, "avx2": _half_as_wide}[name]
    ways = {
        way: {
            dtype: {
                pass_: rounded(change(way, dtype, pass_ == "training", passes[pass_], dtypes))
                for pass_ in passes
            }
            for dtype, passes in dtypes.items()
        }
        for way, dtypes in base.prices["cpu"].items()
    }
    machine = {
        "cpu": PRICE_SETS[name],
        "torch": base.machine["torch"],
        "threads": 1,
        "set": name,
        "basis": f"estimated from {base.machine['set']} by benchmarks/shipped_prices.py",
    }
    return Constants(machine, {"cpu": ways}, measured=False)


def _with_matrix_units(
    way: str, dtype: str, training: bool, price: Price, dtypes: Mapping[str, Any]
) -> Price:
    """Only products of bfloat16 change, by as much as makes the whole time the given share."""
    if way not in MATRIX_UNITS or dtype != "bfloat16":
        return price
    single: Price = dtypes["float32"]["training" if training else "forward"]
    whole = single.products + single.entries / CHANNELS
    products = MATRIX_UNITS[way][training] * whole - price.entries / CHANNELS
    return price._replace(products=min(price.products, max(products, 0.1 * price.products)))


def _half_as_wide(
    way: str, dtype: str, training: bool, price: Price, dtypes: Mapping[str, Any]
) -> Price:
    """Arithmetic takes longer; what comes from memory and what a call takes does not."""
    del dtype, dtypes
    if way in NATIVE:
        factor = HALF_AS_WIDE[training]
        return price._replace(products=factor * price.products, entries=factor * price.entries)
    return price._replace(entries=EXPONENTIALS * price.entries)


def measured(name: str, *, quick: bool, seconds: float | None) -> Constants:
    """The set ``name`` as this machine takes it; refused where the numbers are not to be trusted.

    The environment has to have the limits of the set already: libraries read it once.
    """
    if price_set() != name:
        raise SystemExit(f"This processor belongs to {price_set()}, not to {name}.")
    extent = QUICK if quick else FULL
    extent = extent if seconds is None else replace(extent, seconds=seconds)
    draw = LotteryDisplay(quiet=False)
    with draw:
        findings = Lottery(Journal(journal_path(quick=quick)), extent).run(draw)
    draw.show(findings)
    reason = findings.quality.doubt()
    if reason is not None:
        raise SystemExit(f"Not written: {reason}")
    machine = {**findings.table.machine, "set": name, "basis": "measured"}
    return joined(findings.table, shipped(name), machine)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=list(PRICE_SETS))
    parser.add_argument("--quick", action="store_true", help="fewer graphs: four minutes, not 20")
    parser.add_argument("--seconds", type=float, help="time for measuring")
    parser.add_argument("--estimate", action="store_true", help="from avx512, without measuring")
    options = parser.parse_args()
    missing = {k: v for k, v in LIMITS[options.name].items() if os.environ.get(k) != v}
    if missing and not options.estimate:
        again = subprocess.run([sys.executable, *sys.argv], env=os.environ | missing, check=False)
        raise SystemExit(again.returncode)
    if options.estimate:
        table = estimated(options.name, shipped("avx512"))
    else:
        table = measured(options.name, quick=options.quick, seconds=options.seconds)
    Constants.from_dict(table.to_dict(), measured=False)  # raises if it could not be read back
    path = FOLDER / f"{options.name}.json"
    path.write_text(json.dumps(table.to_dict(), indent=1) + "\n", encoding="utf-8")
    print(f"Written: {path.name}, {table.machine['basis']}, {len(table.prices['cpu'])} ways.")


if __name__ == "__main__":
    main()
