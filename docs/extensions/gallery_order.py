"""The order of the gallery: the operator first, then other libraries."""

from __future__ import annotations

ORDER = (
    "own_graph",
    "explain_and_plan",
    "sums",
    "window_language_model",
    "huggingface_window",
    "pyg_gat",
    "pyg_gps",
    "pyg_accelerate",
)


class GalleryOrder:
    """Sort key of an example: its place in `ORDER`; what is not there comes last."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, file: str) -> tuple[int, str]:
        """The key of a file."""
        name = file.removesuffix(".py")
        return ORDER.index(name) if name in ORDER else len(ORDER), name

    def __repr__(self) -> str:
        return f"GalleryOrder({ORDER})"
