"""The scheduler: sans-I/O. ``scheduler.py`` is the table of events, and says which module does what."""

from penstock.scheduler.guarded_queue import GuardedQueue
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lanes import Lane, LaneSpec, retry_lost
from penstock.scheduler.pools import PoolSpec
from penstock.scheduler.queues import FifoQueue, Queue
from penstock.scheduler.scheduler import Scheduler

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
