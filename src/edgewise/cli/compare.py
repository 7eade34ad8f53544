"""``edgewise compare``: trains the ladder, and prints the gain and the cost of each step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from edgewise.cli.compare_display import CompareDisplay
from edgewise.cli.options import Flag, device_named, shown
from edgewise.errors import ArgumentError, EdgewiseError, printable
from edgewise.optional_packages import require
from edgewise.training import Comparison, draw_picture, load, rungs_named
from edgewise.training.recipe import Network

__all__ = ["compare"]

_INTERRUPTED = 130
_OF_DATA = "the data set's"


Whole = Annotated[int | None, shown("N", _OF_DATA)]
Real = Annotated[float | None, shown("X", _OF_DATA)]


def compare(
    dataset: Annotated[str, tyro.conf.Positional, shown("DATASET")],
    /,
    seeds: Annotated[int, shown("N")] = 3,
    rungs: Annotated[str | None, shown("A,B", "all")] = None,
    epochs: Whole = None,
    hidden: Whole = None,
    layers: Whole = None,
    heads: Whole = None,
    encodings: Whole = None,
    dropout: Real = None,
    lr: Real = None,
    weight_decay: Real = None,
    batch: Whole = None,
    patience: Whole = None,
    network: Annotated[Network | None, shown("blocks|published", _OF_DATA)] = None,
    out: Annotated[Path | None, shown("DIR", "runs/NAME")] = None,
    data_root: Annotated[Path | None, shown("DIR", "EDGEWISE_DATA")] = None,
    device: Annotated[str, shown("auto|cpu|cuda")] = "auto",
    threads: Annotated[int | None, shown("N", "1 for small steps")] = None,
    fresh: Annotated[bool, Flag, shown(None)] = False,
    quiet: Annotated[bool, Flag, shown(None)] = False,
) -> int:
    """Does this data need its graph? Does it need attention? What does each step cost here?

    Trains a ladder of networks that differ in one thing at a time, under one budget: mlp (no
    graph), gnn, gat, graph-transformer (dot attention on the graph), transformer (everyone reads
    everyone) and transformer+pe (the same with Laplacian encodings). Ends with a table, a verdict,
    a picture and a JSON file with everything. Ctrl-C keeps what is finished, and the same command
    goes on from there.

    A step helps, or costs quality, where the 95 % interval of the difference over at least three
    seeds leaves out zero; everything else is called a difference that this test set cannot show.

    Your own data is a .npz or .safetensors file with arrays x [nodes, features], edge_index
    [2, edges] (sources, targets; both directions) and y (one label for each node or graph: whole
    numbers are classes, counted from 0, others values; -1 is a node without a label, which takes
    part and is not scored). Many graphs: node_ptr and edge_ptr say where each graph's nodes and
    edges end ([graphs + 1], from 0), and edge_index counts from the start of each graph.
    Optional: train_mask, val_mask, test_mask (one split: seeds then vary only the weights; without
    masks every seed draws its own split); edge_attr; task (node-classes, graph-classes,
    node-values or graph-values). Other arrays are named and not used. From PyTorch Geometric,
    edgewise.integrations.pyg.save(data, path) writes such a file.

    Args:
        dataset: digits, cora, citeseer, mutag, nci1, esol, or the path of your own file.
        seeds: How many times each rung is trained.
        rungs: Some of the ladder, separated by commas.
        epochs: At most so many.
        hidden: Width of every network.
        layers: Depth of every network.
        heads: Attention heads, which share the width.
        encodings: Laplacian eigenvectors of transformer+pe.
        dropout: Share of features dropped in training.
        lr: Learning rate.
        weight_decay: Weight decay.
        batch: Graphs in a training step.
        patience: Epochs without improvement before a network is done.
        network: blocks: one stack for all; published: the papers' networks (cora, citeseer).
        out: Folder of the results.
        data_root: Folder of the data sets.
        device: auto, cpu or cuda.
        threads: Threads of a training step, at most four for each core.
        fresh: Start over, whatever an earlier run left.
        quiet: Only the table and the verdict.
    """
    chosen = device_named(device)
    comparison = Comparison(
        load(dataset, data_root),
        _folder(out or Path("runs") / Path(dataset).stem),
        rungs=rungs_named(rungs),
        seeds=seeds,
        overrides={
            "epochs": epochs,
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
            "encodings": encodings,
            "dropout": dropout,
            "lr": lr,
            "weight_decay": weight_decay,
            "batch": batch,
            "patience": patience,
            "network": network,
        },
        device=chosen,
        threads=threads,
        fresh=fresh,
    )
    require("matplotlib")  # fails before training, not after
    display = CompareDisplay(comparison, quiet=quiet)
    try:
        with display:
            comparison.run(display)
    except KeyboardInterrupt:
        display.stopped()
        if comparison.results.runs:
            display.show()
            display.written(draw_picture(comparison.results, comparison.out))
        return _INTERRUPTED
    except (OSError, EdgewiseError):
        if comparison.results.runs:  # finished runs are printed even if they cannot be saved
            display.show()
        raise
    display.show()
    display.written(draw_picture(comparison.results, comparison.out))
    return 0


def _folder(path: Path) -> Path:
    """The folder of the results, checked to be no file; it is not created."""
    if path.exists() and not path.is_dir():
        raise ArgumentError(
            f"out must be a folder, but {printable(path)} is a file. Choose another --out."
        )
    return path
