"""The scheduler: sans-I/O. See ``scheduler.py``."""

from penstock.scheduler.guarding import GuardedQueue
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lanes import Lane, LaneSpec
from penstock.scheduler.queues import FifoQueue, Queue
from penstock.scheduler.retrying import retry_lost
from penstock.scheduler.scheduler import Scheduler
from penstock.scheduler.workforce import PoolSpec

__all__ = [
    "Attempt",
    "FifoQueue",
    "GuardedQueue",
    "Job",
    "Lane",
    "LaneSpec",
    "PoolSpec",
    "Queue",
    "Scheduler",
    "retry_lost",
]
