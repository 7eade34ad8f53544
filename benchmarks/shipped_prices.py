"""Make this machine's constants the ones that come with the package.

Run ``edgewise lottery`` first, on a quiet machine. What it does not measure (other
devices, merging) keeps the shipped prices.
"""

import json
from pathlib import Path

import torch

import edgewise
from edgewise.planning.machine import Constants, Price, constants, shipped

PATH = Path(edgewise.__file__).parent / "planning" / "prices.json"


def rounded(price: Price) -> Price:
    """Three digits are more than was measured."""
    return Price(*(float(f"{each:.3g}") for each in price))


def joined(found: Constants, before: Constants) -> Constants:
    """What was measured, and what was shipped for the rest."""
    prices = {device: dict(ways) for device, ways in before.prices.items()}
    for device, ways in found.prices.items():
        for way, dtypes in ways.items():
            prices[device][way] = {
                dtype: {pass_: rounded(price) for pass_, price in passes.items()}
                for dtype, passes in dtypes.items()
            }
    return Constants(found.machine, prices, measured=False)


def main() -> None:
    found = constants()
    if not found.measured:
        raise SystemExit("This machine has not been measured. Run: edgewise lottery")
    table = joined(found, shipped())
    Constants.from_dict(table.to_dict(), measured=False)  # raises if it could not be read back
    PATH.write_text(json.dumps(table.to_dict(), indent=1) + "\n", encoding="utf-8")
    ways = sum(len(ways) for ways in found.prices.values())
    print(f"Written: {ways} ways as measured on {found.machine['cpu']}, torch {torch.__version__}.")


if __name__ == "__main__":
    main()
