"""The scheduler: sans-I/O. See ``scheduler.py``."""

from penstock.scheduler.guarded_queue import GuardedQueue
from penstock.scheduler.jobs import Attempt, Job
from penstock.scheduler.lanes import Lane, LaneSpec
from penstock.scheduler.pools import PoolSpec
from penstock.scheduler.queues import FifoQueue, Queue
from penstock.scheduler.retries import retry_lost
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
