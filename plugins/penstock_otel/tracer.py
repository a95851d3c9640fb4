"""The tracer: the trace that a request belongs to, and whether it is sampled. It runs for every request."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random
from typing import Final

from penstock.hooks import Submission, Trace
from penstock_otel.environment import Environment
from penstock_otel.trace_headers import LONGEST_BAGGAGE, LONGEST_STATE, parse_traceparent, passed_on

SAMPLED: Final = 1
LONGEST_FACT: Final = 256
DEFAULT_SAMPLER: Final = "parentbased_always_on"
_IDS: Final = 1 << 64
_PARENT_BASED: Final = "parentbased_"

# Ids of its own: a program that seeds the common generator would make the same ones in each of its processes.
_random = Random()  # noqa: S311 - ids have to differ, and need not be secret
os.register_at_fork(after_in_child=_random.seed)


class Sampler:
    """The decision of OpenTelemetry's sampler of that name, made from the ids alone.

    Parameters
    ----------
    name:
        As in ``OTEL_TRACES_SAMPLER``.
    argument:
        As in ``OTEL_TRACES_SAMPLER_ARG``: the share of ``traceidratio``. Default: all.

    Attributes
    ----------
    problem:
        The reason why the default is used instead; "" if it is not.
    obeys_callers:
        True if a request is sampled exactly if its caller is.
    bound:
        Traces are sampled whose lower 64 bits are below this number.
    """

    def __init__(self, name: str = DEFAULT_SAMPLER, argument: str = "") -> None:
        self.problem = ""
        self.obeys_callers = name.startswith(_PARENT_BASED)
        kind = name.removeprefix(_PARENT_BASED)
        self.bound = {"always_on": _IDS, "always_off": 0}.get(kind, _IDS)
        if kind == "traceidratio":
            self.bound = self._bound_of(argument)
        elif kind not in ("always_on", "always_off"):
            self.obeys_callers = True
            self.problem = f"OTEL_TRACES_SAMPLER={name} is not supported; {DEFAULT_SAMPLER} is used"

    def _bound_of(self, argument: str) -> int:
        try:
            share = float(argument or 1)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.problem = f"OTEL_TRACES_SAMPLER_ARG={argument} is not a number from 0 to 1; 1 is used"
            share = 1.0
        return round(share * _IDS)


def sampler_of(environment: Environment) -> Sampler:
    """Return the sampler that the variables name."""
    return Sampler(environment.get("OTEL_TRACES_SAMPLER", DEFAULT_SAMPLER), environment.get("OTEL_TRACES_SAMPLER_ARG"))


def make_tracer(environment: Environment, *, exports: bool) -> Callable[[Submission], Trace]:
    """Return the tracer.

    Parameters
    ----------
    environment:
        The variables, which name the sampler and the propagators.
    exports:
        False if no spans are exported: then nothing is sampled here, and the caller's trace is passed on as it is.
    """
    sampler = sampler_of(environment)
    obeys_callers, bound = sampler.obeys_callers, sampler.bound
    reads_traces, reads_baggage = environment.propagates("tracecontext"), environment.propagates("baggage")
    bits = _random.getrandbits

    def trace_of(submission: Submission) -> Trace:
        caller, baggage = None, ""
        header, received = submission.header, submission.received_headers
        if received is None or b"traceparent" in received:  # a look-up of its own takes longer
            value = header("traceparent") if reads_traces else None
            caller = None if value is None else parse_traceparent(value)
        if reads_baggage and (received is None or b"baggage" in received):
            baggage = passed_on(header("baggage"), LONGEST_BAGGAGE)
        if caller is None:
            trace_id, parent, flags, state = f"{bits(128) or 1:032x}", "", 0, ""
            is_sampled = exports and int(trace_id[16:], 16) < bound
        else:
            trace_id, parent, flags = caller
            state = passed_on(header("tracestate"), LONGEST_STATE)
            if not exports:
                return Trace(trace_id, parent, False, flags, state, baggage)
            is_sampled = bool(flags & SAMPLED) if obeys_callers else int(trace_id[16:], 16) < bound
        if not is_sampled:
            return Trace(trace_id, parent or f"{bits(64) or 1:016x}", False, flags & ~SAMPLED, state, baggage)
        agent, host = header("user-agent") or "", header("host") or ""
        own = f"{bits(64) or 1:016x}"
        return Trace(
            trace_id, own, True, flags | SAMPLED, state, baggage, parent, agent[:LONGEST_FACT], host[:LONGEST_FACT]
        )

    return trace_of
