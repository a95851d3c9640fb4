"""Protection against overload: queue disciplines, infeasible deadlines, priorities and fair shares."""

from penstock_overload.disciplines import Adaptive, CoDel, Discipline, EarliestDeadlineFirst, Fifo, Lifo
from penstock_overload.plugin import OverloadPlugin, OverloadSettings

__all__ = [
    "Adaptive",
    "CoDel",
    "Discipline",
    "EarliestDeadlineFirst",
    "Fifo",
    "Lifo",
    "OverloadPlugin",
    "OverloadSettings",
]
