"""Measure: what each kind of work takes on this machine, and where which way of computing wins.

Nothing optional is imported before it is used; what is missing then is one sentence.
"""

from edgewise.lottery.journal import Journal as Journal, journal_path as journal_path
from edgewise.lottery.map import Cell as Cell, crossovers as crossovers
from edgewise.lottery.picture import draw_map as draw_map
from edgewise.lottery.run import (
    FULL as FULL,
    QUICK as QUICK,
    Extent as Extent,
    Findings as Findings,
    Lottery as Lottery,
    Watcher as Watcher,
    remove_constants as remove_constants,
    save_constants as save_constants,
)
from edgewise.lottery.trust import Quality as Quality, Ruling as Ruling
