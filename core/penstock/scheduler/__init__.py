"""The scheduler: sans-I/O. See ``scheduler.py``."""

from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lanes import Lane, LaneSpec
from penstock.scheduler.scheduler import Scheduler
from penstock.scheduler.workforce import PoolSpec

__all__ = ["Attempt", "Job", "Lane", "LaneSpec", "PoolSpec", "Scheduler"]
