"""PyTorch Geometric with Edgewise: layers, data and files.

Change one import, or nothing but one line:

    from edgewise.integrations.pyg import GATConv   # instead of torch_geometric.nn
    accelerate(model)                               # or swap the layers of a model that is there
    restore(model)                                  # and back; for a while: with originals(): ...

The layers are those of PyTorch Geometric: the same constructors, the same ``state_dict``, the same
inputs and outputs; the messages are computed by `edgewise.attention` or
`edgewise.aggregate`. See `DropIn` for when they run the original instead. To pack a model into
an archive with `torch.package`, name both packages: ``exporter.extern(["edgewise.**",
"torch_geometric.**"])``.

Importing this package loads nothing optional; using a layer needs ``edgewise[pyg]``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgewise.integrations.pyg.data_files import (
    arrays as arrays,
    download as download,
    save as save,
)
from edgewise.optional_packages import require

if TYPE_CHECKING:
    from edgewise.integrations.pyg.convolution import (
        GCNConv as GCNConv,
        GINConv as GINConv,
        SAGEConv as SAGEConv,
    )
    from edgewise.integrations.pyg.data import (
        from_batch as from_batch,
        from_data as from_data,
        from_edge_index as from_edge_index,
        from_hetero as from_hetero,
        to_data as to_data,
        to_edge_index as to_edge_index,
    )
    from edgewise.integrations.pyg.dropin import DropIn as DropIn, originals as originals
    from edgewise.integrations.pyg.edge_cache import forget as forget
    from edgewise.integrations.pyg.gat_conv import GATConv as GATConv, GATv2Conv as GATv2Conv
    from edgewise.integrations.pyg.gmm import GMMConv as GMMConv
    from edgewise.integrations.pyg.gps_conv import GPSConv as GPSConv
    from edgewise.integrations.pyg.swap import (
        Swaps as Swaps,
        accelerate as accelerate,
        restore as restore,
    )
    from edgewise.integrations.pyg.transformer import TransformerConv as TransformerConv

_MODULES = {
    "DropIn": "dropin",
    "GATConv": "gat_conv",
    "GATv2Conv": "gat_conv",
    "GCNConv": "convolution",
    "GINConv": "convolution",
    "GMMConv": "gmm",
    "GPSConv": "gps_conv",
    "SAGEConv": "convolution",
    "Swaps": "swap",
    "TransformerConv": "transformer",
    "accelerate": "swap",
    "forget": "edge_cache",
    "originals": "dropin",
    "restore": "swap",
    "from_batch": "data",
    "from_data": "data",
    "from_edge_index": "data",
    "from_hetero": "data",
    "to_data": "data",
    "to_edge_index": "data",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require("torch_geometric", "pyg")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
