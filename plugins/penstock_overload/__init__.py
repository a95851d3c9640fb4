"""Overload: the queue disciplines, deadlines that cannot be met, priorities and fair shares."""

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
