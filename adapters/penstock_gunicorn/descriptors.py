"""The limit on open files, which is also the limit on connections."""

from __future__ import annotations

import logging
import math
import resource

from penstock.hooks import log_event

# Some containers have a hard limit of a billion; programs that loop over all possible descriptors then take minutes.
MOST_DESCRIPTORS = 1 << 20
# Kept for files, listeners, and the start of processes.
RESERVE = 64
# The sockets and pipes of a worker, twice: its successor may start before they are closed.
PER_WORKER = 16
# The smallest share of the limit that is left to connections.
LEAST_SHARE = 0.25


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open files to the hard one, for this process and its children, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # a sandbox may forbid it
            return soft
        return wanted
    return soft if soft != resource.RLIM_INFINITY else MOST_DESCRIPTORS


def most_connections(limit: int, workers: int) -> int:
    """Return how many connections may be open, so that descriptors are left for ``workers`` workers.

    If too few are left for connections, they get a share all the same, and the log says what to set.
    """
    connections, least = limit - RESERVE - PER_WORKER * workers, int(limit * LEAST_SHARE)
    if connections >= least:
        return connections
    enough = math.ceil((RESERVE + PER_WORKER * workers) / (1 - LEAST_SHARE))
    log_event(
        logging.WARNING,
        "descriptors-few",
        f"this process may open {limit} files, too few for {workers} workers and their clients: allow {enough} or more "
        "(LimitNOFILE in systemd, ulimits in Docker)",
        limit=limit,
        enough=enough,
    )
    return least
