"""Results as files: one for each benchmark and processor, with one entry a day, oldest first."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "torch_geometric", "transformers")

Row = dict[str, Any]
Entry = dict[str, Any]
"""``date``, ``machine``, ``rows``, and what else a benchmark stores."""


# --- The machine -----------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What the numbers were taken on: hardware, threads, versions."""
    import torch

    import edgewise
    from edgewise.measure.machine import processor as cpu_name

    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "versions": {"edgewise": edgewise.__version__}
        | {name: _version(name) for name in PACKAGES},
    }


def processor() -> str:
    """The processor as part of a file's name: ``intel-r-xeon-r-platinum-8481c``.

    Virtual machines may name a family of processors only (``AMD EPYC``); its numbers then follow.
    """
    from edgewise.measure.machine import processor as cpu_name

    name = cpu_name().split("@")[0]
    if not any(letter.isdigit() for letter in name):
        name = " ".join([name, *filter(None, map(_of_cpuinfo, ("cpu family", "model")))])
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _of_cpuinfo(field: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((x.partition(":")[2].strip() for x in lines if x.split("\t")[0] == field), "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# --- Files -----------------------------------------------------------------------------------


def path_of(name: str) -> Path:
    """The file of a benchmark on this processor."""
    return RESULTS / f"{name}-{processor()}.json"


def history(path: Path) -> list[Entry]:
    """All entries of a file, oldest first; none if there is no such file.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). Mend or remove it.") from error
    # A file of a single entry, without a date, was written before there was a history.
    return content.get("entries", [{"date": "", **content}])


def newest(name: str, work: str | None = None) -> Entry:
    """The newest entry of a benchmark on any processor, or the newest one that has this work.

    Raises:
        LookupError: there is none.
    """
    entries = [entry for path in sorted(RESULTS.glob(f"{name}-*.json")) for entry in history(path)]
    if work is not None:
        entries = [e for e in entries if any(row.get("work") == work for row in e["rows"])]
    if not entries:
        raise LookupError(
            f"benchmarks/results holds no {work or 'entry'} of {name}. "
            f"Run: python benchmarks/{name}.py"
        )
    return max(entries, key=lambda entry: entry["date"])


def record(path: Path, rows: list[Row], *, about: Row | None = None, **more: Any) -> Path:
    """Append an entry, or complete that of the same day. The file is whole or as it was before.

    Rows of the same day about other work (their ``work``) stay, those about the same are replaced.

    Args:
        path: The file, from `path_of`.
        rows: What was measured.
        about: Completes the description of the machine.
        more: Further members of the entry.

    Returns:
        The file that was written: another one beside it if the file is damaged.
    """
    day, here = datetime.now(UTC).date().isoformat(), machine() | (about or {})
    measured = {row.get("work") for row in rows}
    earlier, entries = [], []
    try:
        before = history(path)
    except ValueError as error:  # what was measured is kept beside it
        print(error, file=sys.stderr)
        path, before = path.with_name(f"{path.stem}-{day}.json"), []
    for entry in before:
        if entry["date"] != day:
            entries.append(entry)
        elif entry["machine"]["torch"] == here["torch"]:
            earlier = [row for row in entry["rows"] if row.get("work") not in measured]
    entry = {"date": day, "machine": here, **more, "rows": [*earlier, *rows]}
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps({"entries": [*entries, entry]}, indent=1) + "\n", "utf-8")
    draft.replace(path)
    return path


# --- Tables ----------------------------------------------------------------------------------


def markdown(headers: list[str], rows: list[list[str]]) -> str:
    """A table for a page."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(headers: list[str], rows: list[list[Any]]) -> str:
    """A plain text table, numbers to the right."""
    cells = [headers, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = []
    for row in cells:
        padded = [c.rjust(w) for c, w in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *padded[1:]]))
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)
