"""Lottery: measures the prices of work on this machine, and maps which way of computing is fastest.

Optional packages are imported where they are used.
"""

from edgewise.lottery.experiment import (
    FULL as FULL,
    QUICK as QUICK,
    Extent as Extent,
    Findings as Findings,
    Lottery as Lottery,
    LotteryObserver as LotteryObserver,
    remove_constants as remove_constants,
    save_constants as save_constants,
)
from edgewise.lottery.journal import Journal as Journal, journal_path as journal_path
from edgewise.lottery.map import Cell as Cell, crossovers as crossovers
from edgewise.lottery.map_picture import draw_map as draw_map
from edgewise.lottery.trust import Quality as Quality, Ruling as Ruling
