"""Merges: plans of edge-disjoint parts of a graph, each planned by itself, joined exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import PlanError
from edgewise.graphs import Graph, facts_of
from edgewise.layouts import csr, edges
from edgewise.planning.plan import BackendPlan, Plan
from edgewise.planning.prepared_merge import PreparedMerge, PreparedPiece
from edgewise.planning.split import Part
from edgewise.problem import AttentionProblem

__all__ = ["CHECKED", "Merge", "Piece"]

CHECKED = "parts that share no edge, as was checked"


@dataclass(frozen=True)
class Piece:
    """A part of a graph, and how it runs.

    Attributes:
        part: Its edges, and where they lie.
        plan: How they are computed.
    """

    part: Part
    plan: Plan


@dataclass(frozen=True)
class Merge(Plan):
    r"""A plan that runs edge-disjoint parts and merges their states.

    .. math::  \mathrm{attend}(G + H) = \mathrm{merge}(\mathrm{attend}(G), \mathrm{attend}(H))

    Attributes:
        law: Why the parts hold every edge once.
        pieces: At least one; their graphs hold every edge of the problem's graph once.
    """

    law: str
    pieces: tuple[Piece, ...]

    @property
    def name(self) -> str:
        return f"merge({', '.join(piece.plan.name for piece in self.pieces)})"

    @property
    def spreads(self) -> bool:
        return any(
            piece.plan.spreads or piece.part.place.left_out is not None for piece in self.pieces
        )

    @cached_property
    def positions(self) -> tuple[Tensor, ...]:
        """For each part, the positions of its edges in the whole graph's edge order.

        Raises:
            PlanError: the parts share an edge, miss one, or add one.
        """
        whole, device = self.problem.graph, self.problem.device
        if not facts_of(whole).simple:
            raise PlanError(
                "merge: the graph holds copies of an edge, which cannot be told "
                "apart when it is split. Merge the copies first."
            )
        rows = csr(whole, device)
        S = max(whole.num_sources, 1)
        keys = rows.target * S + rows.indices
        places = tuple(self._place(piece.part.graph, keys) for piece in self.pieces)
        taken = torch.zeros(rows.num_edges, dtype=torch.int64, device=device)
        for place in places:
            taken += torch.bincount(place, minlength=rows.num_edges)
        if bool((taken != 1).any()):
            shared, missed = int((taken > 1).sum()), int((taken == 0).sum())
            raise PlanError(
                f"merge: parts must hold every edge once, but they share {shared} and "
                f"miss {missed}. Write an overlapping union as G + (H - G)."
            )
        return places if rows.edge is None else tuple(rows.edge[place] for place in places)

    def _place(self, part: Graph, keys: Tensor) -> Tensor:
        """Positions of a part's edges among the sorted keys ``target * S + source``: ``[E]``.

        Raises:
            PlanError: an edge has no key.
        """
        listing = edges(part, self.problem.device)
        part_keys = listing.target * max(part.num_sources, 1) + listing.source
        place = torch.searchsorted(keys, part_keys).clamp_(max=max(keys.shape[0] - 1, 0))
        if part_keys.numel() and (not keys.numel() or not bool((keys[place] == part_keys).all())):
            raise PlanError(f"merge: part {part!r} has edges that the whole graph has not.")
        return place

    def prepare(self) -> PreparedMerge:
        return PreparedMerge(
            self.problem.signature,
            tuple(PreparedPiece(piece.part.place, piece.plan.prepared) for piece in self.pieces),
            self.positions if self.problem.edge_tensors else (),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "plan": "merge",
            "graph": repr(self.problem.graph),
            "law": self.law,
            "seconds": self.seconds,
            "memory": self.memory,
            "parts": [piece.plan.to_dict() for piece in self.pieces],
        }

    @classmethod
    def of(cls, problem: AttentionProblem, runs: Sequence[BackendPlan]) -> Merge:
        """The merge of these plans, for ``problem``.

        Raises:
            PlanError: their graphs share an edge, miss one, or add one.
        """
        parts = [
            replace(run, problem=replace(problem, graph=run.problem.graph, wants_lse=True))
            for run in runs
        ]
        plan = cls(
            problem,
            sum(part.seconds for part in parts),
            max(part.memory for part in parts),
            CHECKED,
            tuple(Piece(Part(part.problem.graph), part) for part in parts),
        )
        _ = plan.positions
        return plan
