"""The circuit breaker: what opens it, what closes it, and which results do not count."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.app import App, Endpoint
from penstock.errors import CircuitOpen, PenstockError, PluginError, Unavailable
from penstock.hooks import JobAnswered, Release, Submission, Timeouts
from penstock.hooks.registry import Registry
from penstock.hooks.settings import Sources
from penstock_breaker import BreakerPlugin
from penstock_breaker.breaker import JITTER, RESULT_SECONDS, Breaker
from penstock_breaker.call_window import BUCKETS, CallWindow
from penstock_breaker.circuit_limits import BreakerSettings, CircuitLimits
from penstock_breaker.circuit_states import CIRCUIT, CLOSED, HALF_OPEN, OPEN, IllegalCircuitTransition
from penstock_breaker.plugin import FAILED

LIMITS = CircuitLimits(window=10.0, min_calls=4, open_seconds=1.0, max_open_seconds=5.0, probes=2, probe_seconds=3.0)


def no_jitter() -> float:
    return 0.0


def breaker(limits: CircuitLimits = LIMITS, random: Callable[[], float] = no_jitter) -> Breaker:
    return Breaker(limits, random)


def let_in(circuit: Breaker, now: float) -> int:
    ticket = circuit.ask(now)
    assert ticket is not None, f"refused: {circuit!r}"
    return ticket


def calls(circuit: Breaker, results: Sequence[bool], now: float = 0.0) -> None:
    """Make one call after the other, each of which succeeds (True) or fails."""
    for succeeds in results:
        circuit.record(let_in(circuit, now), now, failed=not succeeds)


def opened(limits: CircuitLimits = LIMITS, now: float = 0.0, random: Callable[[], float] = no_jitter) -> Breaker:
    circuit = breaker(limits, random)
    calls(circuit, [False] * limits.min_calls, now)
    assert circuit.state is OPEN
    return circuit


# ---- the table


def test_the_table_has_three_states_and_four_moves() -> None:
    """Closed leads to open, open to half open, and half open to either of them; no other transition exists."""
    moves = {(state, event): CIRCUIT[state][event] for state in CIRCUIT for event in CIRCUIT[state]}
    assert moves == {
        (CLOSED, "trip"): OPEN,
        (OPEN, "try again"): HALF_OPEN,
        (HALF_OPEN, "trip"): OPEN,
        (HALF_OPEN, "recover"): CLOSED,
    }


def test_what_the_table_does_not_have_is_a_bug() -> None:
    """A transition that the table lacks raises an error that names the state and the event."""
    with pytest.raises(IllegalCircuitTransition, match="a circuit that is open cannot recover"):
        CIRCUIT[OPEN]["recover"]


# ---- opening


def test_it_is_closed_at_first() -> None:
    """Any number of calls pass as long as they succeed."""
    circuit = breaker()
    calls(circuit, [True] * 100)
    assert (circuit.state, repr(circuit)) == (CLOSED, "<Breaker closed: <CallWindow: 100 calls, 0 failed, 0 slow>>")


def test_it_opens_at_the_failure_rate() -> None:
    """The circuit opens at exactly the failure rate, and not just below it."""
    circuit = breaker()
    calls(circuit, [True, True, True, False, False])
    assert circuit.state is CLOSED
    calls(circuit, [False])
    assert circuit.state is OPEN
    assert circuit.ask(0.5) is None


def test_few_calls_are_no_rate() -> None:
    """Below the minimum number of calls the circuit stays closed even if all of them fail."""
    circuit = breaker()
    calls(circuit, [False] * 3)
    assert circuit.state is CLOSED
    calls(circuit, [False])
    assert circuit.state is OPEN


def test_a_call_that_succeeds_never_opens_it() -> None:
    """A success that completes the minimum after failures leaves the circuit closed; the next failure opens it."""
    circuit = breaker()
    calls(circuit, [False, False, False, True])
    assert circuit.state is CLOSED
    calls(circuit, [False])
    assert circuit.state is OPEN


def test_failures_of_long_ago_are_forgotten() -> None:
    """Calls that have left the window no longer count."""
    circuit = breaker()
    calls(circuit, [False] * 3, now=0.0)
    calls(circuit, [False] * 3, now=10.0)
    assert (circuit.state, circuit.window.calls) == (CLOSED, 3)


def test_slow_calls_open_it_too() -> None:
    """A success that took too long counts towards the slow rate and not towards the failure rate."""
    circuit = breaker(CircuitLimits(min_calls=4, slow_seconds=1.0, slow_rate=0.75))
    for slow in (True, False, True, True):
        assert circuit.state is CLOSED
        circuit.record(let_in(circuit, 0.0), 0.0, slow=slow)
    assert circuit.state is OPEN


def test_each_rate_can_be_off() -> None:
    """Without a failure rate failures do not open the circuit; without slow_seconds slow calls do not."""
    circuit = breaker(CircuitLimits(min_calls=1, failure_rate=None, slow_seconds=1.0))
    circuit.record(let_in(circuit, 0.0), 0.0, failed=True)
    assert circuit.state is CLOSED
    circuit = breaker(CircuitLimits(min_calls=1))
    circuit.record(let_in(circuit, 0.0), 0.0, slow=True)
    assert circuit.state is CLOSED


# ---- the open period


def test_nothing_passes_until_the_open_period_is_over() -> None:
    """Refused callers learn how long it still lasts."""
    circuit = opened(now=100.0)
    assert [circuit.ask(now) for now in (100.0, 100.5, 100.999)] == [None, None, None]
    assert circuit.wait(100.25) == 0.75
    assert circuit.state is OPEN
    let_in(circuit, 101.0)
    assert circuit.state is HALF_OPEN


def test_each_open_period_is_twice_as_long_as_the_one_before_up_to_a_limit() -> None:
    """A failed probe doubles the period; after the circuit has closed it starts from the first length again."""
    circuit, now, periods = opened(), 0.0, []
    for _ in range(5):
        periods.append(circuit.open_for)
        now += circuit.open_for
        circuit.record(let_in(circuit, now), now, failed=True)
    assert periods == [1.0, 2.0, 4.0, 5.0, 5.0]
    now += circuit.open_for
    calls(circuit, [True, True], now)
    assert circuit.state is CLOSED
    calls(circuit, [False] * 4, now)
    assert (circuit.state, circuit.open_for) == (OPEN, 1.0)


def test_a_circuit_that_reopens_forever_keeps_its_limit() -> None:
    """The doubling does not overflow."""
    circuit = opened()
    for turn in range(2000):
        now = 10.0 * (turn + 1)
        circuit.record(let_in(circuit, now), now, failed=True)
    assert (circuit.open_for, circuit.reopened) == (5.0, 2000)


@given(st.floats(0, 1), st.integers(0, 6))
def test_the_jitter_only_shortens(share: float, failed_probes: int) -> None:
    """An open period is never longer than its limit, and never shortened by more than a fifth."""
    circuit, now = opened(random=lambda: share), 0.0
    for _ in range(failed_probes):
        now += circuit.open_for
        circuit.record(let_in(circuit, now), now, failed=True)
    full = min(LIMITS.open_seconds * 2**failed_probes, LIMITS.max_open_seconds)
    assert full * (1 - JITTER) - 1e-9 <= circuit.open_for <= full


# ---- probing


def test_probes_go_one_at_a_time() -> None:
    """The next probe passes only after the result of the last one."""
    circuit = opened()
    first = let_in(circuit, 1.0)
    assert [circuit.ask(now) for now in (1.0, 2.0, 3.9)] == [None, None, None]
    assert circuit.wait(1.0) == RESULT_SECONDS
    assert circuit.wait(3.75) == 0.25
    circuit.record(first, 3.9)
    let_in(circuit, 3.9)
    assert circuit.ask(3.9) is None


def test_it_closes_when_enough_probes_have_succeeded() -> None:
    """The closed circuit has forgotten earlier calls: opening it again takes the minimum number of calls."""
    circuit = opened()
    calls(circuit, [True], now=1.0)
    assert circuit.state is HALF_OPEN
    calls(circuit, [True], now=1.0)
    assert (circuit.state, circuit.window.calls, circuit.reopened) == (CLOSED, 0, 0)
    calls(circuit, [False] * 3, now=1.0)
    assert circuit.state is CLOSED


@pytest.mark.parametrize("result", [{"failed": True}, {"slow": True}], ids=str)
def test_one_bad_probe_opens_it_again(result: dict[str, bool]) -> None:
    """A failed or slow probe reopens the circuit, and successful probes before it are forgotten."""
    circuit = opened(CircuitLimits(min_calls=4, slow_seconds=1.0, open_seconds=1.0, probes=2))
    calls(circuit, [True], now=1.0)
    circuit.record(let_in(circuit, 1.0), 1.0, **result)
    assert (circuit.state, circuit.reopened) == (OPEN, 1)
    calls(circuit, [True], now=3.0)
    assert circuit.state is HALF_OPEN


def test_a_probe_without_a_result_lets_another_pass() -> None:
    """A cancelled probe decides nothing; the next call is the probe immediately."""
    circuit = opened()
    circuit.forget(let_in(circuit, 1.0))
    assert circuit.state is HALF_OPEN
    assert circuit.wait(1.0) == 0.0
    calls(circuit, [True, True], now=1.0)
    assert circuit.state is CLOSED


def test_a_probe_that_is_never_answered_does_not_wedge_it() -> None:
    """After ``probe_seconds`` another call may pass as a probe."""
    circuit = opened()
    let_in(circuit, 1.0)
    assert circuit.ask(3.999) is None
    let_in(circuit, 4.0)
    assert circuit.ask(4.0) is None


def test_the_late_answer_of_a_probe_still_counts() -> None:
    """A late answer counts, but does not end the probe that passed after it."""
    circuit = opened()
    late = let_in(circuit, 1.0)
    let_in(circuit, 4.0)
    circuit.forget(late)
    assert circuit.ask(4.0) is None
    circuit.record(late, 5.0)
    assert circuit.ask(5.0) is None
    circuit.record(late, 5.0, failed=True)
    assert circuit.state is OPEN


def test_results_of_calls_admitted_before_it_opened_are_ignored() -> None:
    """They say nothing about the endpoint as it is now, in any state of the circuit."""
    circuit = breaker()
    old = let_in(circuit, 0.0)
    calls(circuit, [False] * 4)
    circuit.record(old, 0.5, failed=True)
    assert (circuit.state, circuit.open_for) == (OPEN, 1.0)
    probe = let_in(circuit, 1.0)
    circuit.record(old, 1.0, failed=True)
    circuit.forget(old)
    assert (circuit.state, circuit.ask(1.0)) == (HALF_OPEN, None)
    circuit.record(probe, 1.0)
    calls(circuit, [True], now=1.0)
    circuit.record(old, 1.0, failed=True)
    circuit.record(probe, 1.0, failed=True)
    assert (circuit.state, circuit.window.calls) == (CLOSED, 0)


# ---- properties

Steps = st.lists(
    st.tuples(st.floats(0, 2), st.sampled_from(["ask", "good", "bad", "slow", "nothing"]), st.integers(0, 5)),
    max_size=80,
)


def play(steps: list[tuple[float, str, int]], check: Callable[[Breaker, str, float], None]) -> tuple[Breaker, float]:
    """Let calls in and end them in the order of the steps; call ``check`` after each step."""
    circuit = breaker(
        CircuitLimits(window=10.0, min_calls=2, slow_seconds=1.0, open_seconds=1.0, probes=2, probe_seconds=3.0)
    )
    now, under_way = 0.0, []
    for pause, what, which in steps:
        now += pause
        if what == "ask":
            ticket = circuit.ask(now)
            if ticket is not None:
                under_way.append(ticket)
        elif under_way:
            ticket = under_way.pop(which % len(under_way))
            if what == "nothing":
                circuit.forget(ticket)
            else:
                circuit.record(ticket, now, failed=what == "bad", slow=what == "slow")
        check(circuit, what, now)
    return circuit, now


@given(Steps)
def test_only_a_bad_call_opens_it(steps: list[tuple[float, str, int]]) -> None:
    """In any order of events, a success, a cancelled call or a refusal never opens the circuit."""
    was = CLOSED

    def check(circuit: Breaker, what: str, now: float) -> None:
        nonlocal was
        if circuit.state is OPEN and was is not OPEN:
            assert what in ("bad", "slow")
        was = circuit.state

    play(steps, check)


@given(Steps)
def test_it_is_never_wedged(steps: list[tuple[float, str, int]]) -> None:
    """After any sequence of events, answered or not, a call may eventually pass again and close the circuit."""
    circuit, now = play(steps, lambda *_: None)
    now += 120.0 + 3.0
    for _ in range(2):
        circuit.record(let_in(circuit, now), now)
    assert circuit.state is CLOSED


@given(Steps)
def test_when_half_open_a_second_call_waits(steps: list[tuple[float, str, int]]) -> None:
    """After each step that let a probe pass, another call in the same instant is refused."""

    def check(circuit: Breaker, what: str, now: float) -> None:
        if circuit.state is HALF_OPEN and circuit.wait(now) > 0:
            assert circuit.ask(now) is None

    play(steps, check)


@given(Steps)
def test_refused_callers_know_when_to_come_back(steps: list[tuple[float, str, int]]) -> None:
    """The wait is bounded; once a caller has waited through an open period, a call may pass."""

    def check(circuit: Breaker, what: str, now: float) -> None:
        wait = circuit.wait(now)
        assert 0.0 <= wait <= 120.0
        assert circuit.state is not OPEN or now + wait >= circuit._reopens_at

    play(steps, check)


@given(st.lists(st.tuples(st.floats(0, 8), st.booleans(), st.booleans()), max_size=100))
def test_the_window_equals_a_recount(added: list[tuple[float, bool, bool]]) -> None:
    """The sums equal a recount of the calls in the last ten tenths of the window, in memory that never grows."""
    window, now, kept = CallWindow(10.0), 0.0, deque[tuple[int, bool, bool]]()
    for pause, failed, slow in added:
        now += pause
        window.add(now, failed=failed, slow=slow)
        kept.append((int(now), failed, slow))
        recent = [call for call in kept if call[0] > int(now) - BUCKETS]
        expected = (len(recent), sum(call[1] for call in recent), sum(call[2] for call in recent))
        assert (window.calls, window.failed, window.slow) == expected
    assert len(window._calls) == len(window._failed) == len(window._slow) == BUCKETS


def test_a_clock_that_steps_back_does_no_harm() -> None:
    """The call counts in the bucket of the latest call."""
    window = CallWindow(10.0)
    window.add(100.0, failed=True)
    window.add(3.0)
    assert (window.calls, window.failed) == (2, 1)


# ---- the plug-in


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def endpoint(name: str = "square", timeouts: Timeouts | None = None) -> Endpoint:
    """An endpoint of some app."""
    app = App("tests")

    @app.endpoint(f"/{name}", **({"timeouts": timeouts} if timeouts else {}))
    def square(input: float) -> float:
        return input**2

    return app.endpoints[0]


def policy_of(plugin: BreakerPlugin, endpoint: Endpoint) -> Callable[[Submission], Release | None]:
    policy = plugin.penstock_admission_policy(endpoint)
    assert policy is not None
    return policy


class Circuits:
    """The plug-in's policy for one endpoint, with the test's clock."""

    def __init__(self, timeouts: Timeouts | None = None, **settings: Any) -> None:
        self.clock = Clock()
        usual = {"enabled": True, "min_calls": 4, "open_seconds": 2.0, "probes": 1}
        plugin = BreakerPlugin(BreakerSettings(**(usual | settings)), clock=self.clock, random=no_jitter)
        self.endpoint = endpoint(timeouts=timeouts)
        self.admit = policy_of(plugin, self.endpoint)

    def let_in(self, timeouts: Timeouts | None = None) -> Release:
        submission = Submission(self.endpoint)
        if timeouts is not None:
            submission.timeouts = timeouts
        release = self.admit(submission)
        assert release is not None
        return release

    def call(self, code: str = "ok", *, timeouts: Timeouts | None = None, **more: Any) -> None:
        self.let_in(timeouts)(answered(code, **more))

    def open(self) -> None:
        for _ in range(4):
            self.call("handler-error")

    @property
    def refuses(self) -> bool:
        try:
            self.let_in()(answered("cancelled"))
        except CircuitOpen:
            return True
        return False


def answered(code: str = "ok", *, attempts: int = 1, seconds: float | None = 0.01) -> JobAnswered:
    return JobAnswered(
        endpoint="square",
        request_id="r-1",
        code=code,
        attempts=attempts,
        execution_seconds=seconds if attempts else None,
    )


def test_it_is_off_by_default() -> None:
    """Unless it is enabled, the breaker adds no policy at all."""
    registry = Registry([BreakerPlugin], sources=Sources({}, {}))
    assert registry.admission_policies(endpoint()) == []
    switched_on = Registry([BreakerPlugin], sources=Sources({}, {"PENSTOCK_BREAKER_ENABLED": "true"}))
    assert len(switched_on.admission_policies(endpoint())) == 1


@pytest.mark.parametrize("code", sorted(FAILED))
def test_what_speaks_against_the_endpoint_opens_the_circuit(code: str) -> None:
    """Errors of the handler, lost workers, and timeouts of jobs that ran count as failures."""
    circuits = Circuits()
    for _ in range(4):
        circuits.call(code)
    with pytest.raises(CircuitOpen) as caught:
        circuits.let_in()
    assert isinstance(caught.value, Unavailable)
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "circuit-open", 2.0)
    assert caught.value.retryable
    assert "square" in caught.value.detail


def all_codes() -> set[str]:
    found, left = set(), [PenstockError]
    while left:
        kind = left.pop()
        found.add(kind.code)
        left += kind.__subclasses__()
    return found


@pytest.mark.parametrize("code", sorted(all_codes() - FAILED))
def test_every_other_error_says_nothing(code: str) -> None:
    """A caller that hung up, sent invalid input or found no room counts neither for the endpoint nor against it."""
    circuits = Circuits()
    for _ in range(50):
        circuits.call(code)
    for _ in range(3):
        circuits.call("handler-error")
    assert not circuits.refuses
    circuits.call("handler-error")
    assert circuits.refuses


@pytest.mark.parametrize("code", ["total-timeout", "handler-error", "worker-lost", "queue-full"])
def test_what_never_ran_says_nothing(code: str) -> None:
    """Without an attempt, a result says nothing about the endpoint."""
    circuits = Circuits()
    for _ in range(10):
        circuits.call(code, attempts=0)
    assert not circuits.refuses


def test_a_caller_who_allows_no_time_cannot_open_the_circuit_for_others() -> None:
    """A timeout is a failure only under the endpoint's own limits."""
    circuits = Circuits(timeouts=Timeouts(execution=10.0, total=20.0))
    impatient = [Timeouts(execution=0.001, total=20.0), Timeouts(execution=10.0, total=0.001)]
    for timeouts in impatient * 5:
        circuits.call("execution-timeout", timeouts=timeouts)
        circuits.call("total-timeout", timeouts=timeouts)
    assert not circuits.refuses
    for _ in range(4):
        circuits.call("execution-timeout", timeouts=Timeouts(queue=1.0, execution=10.0, total=20.0))
    assert circuits.refuses


def test_results_under_tight_limits_of_the_caller_still_count() -> None:
    """Errors of the handler count under any limits, and so does a timeout after more than ``slow_seconds``."""
    little = Timeouts(execution=5.0)
    circuits = Circuits()
    for _ in range(4):
        circuits.call("handler-error", timeouts=little)
    assert circuits.refuses
    circuits = Circuits(slow_seconds=1.0)
    for _ in range(4):
        circuits.call("execution-timeout", seconds=5.0, timeouts=little)
    assert circuits.refuses


def test_slow_is_what_ran_longer_than_the_setting() -> None:
    """Only time in the handler counts, not time in the queue. A cancelled call is never slow."""
    circuits = Circuits(slow_seconds=1.0)
    for _ in range(20):
        circuits.call("ok", seconds=1.0)
        circuits.call("cancelled", seconds=9.0)
    assert not circuits.refuses
    for _ in range(20):
        circuits.call("ok", seconds=1.001)
    assert circuits.refuses


@pytest.mark.parametrize(("code", "attempts"), [("cancelled", 1), ("cancelled", 0), ("queue-full", 0), ("draining", 1)])
def test_a_probe_that_was_cancelled_or_refused_by_others_is_no_probe(code: str, attempts: int) -> None:
    """The circuit stays half open, and the next request is the probe."""
    circuits = Circuits()
    circuits.open()
    circuits.clock.now += 2.0
    probe = circuits.let_in()
    with pytest.raises(CircuitOpen):
        circuits.let_in()
    probe(answered(code, attempts=attempts))
    circuits.call("ok")
    for release in [circuits.let_in() for _ in range(10)]:
        release(answered())


def test_a_refusal_says_when_the_next_probe_may_pass() -> None:
    """The wait is in ``retry_after``, from which the adapters build the header."""
    circuits = Circuits()
    circuits.open()
    circuits.clock.now += 0.5
    with pytest.raises(CircuitOpen) as caught:
        circuits.let_in()
    assert caught.value.retry_after == 1.5
    circuits.clock.now += 1.5
    circuits.let_in()
    with pytest.raises(CircuitOpen) as caught:
        circuits.let_in()
    assert caught.value.retry_after == RESULT_SECONDS


def test_endpoints_have_circuits_of_their_own() -> None:
    """The failures of one endpoint do not affect another."""
    plugin = BreakerPlugin(BreakerSettings(enabled=True, min_calls=1))
    first, second = policy_of(plugin, endpoint("one")), policy_of(plugin, endpoint("two"))
    first(Submission(endpoint("one")))(answered("handler-error"))
    with pytest.raises(CircuitOpen):
        first(Submission(endpoint("one")))
    second(Submission(endpoint("two")))


def test_the_usual_request_makes_nothing_new() -> None:
    """While the circuit is closed all requests share one callable: the hot path allocates nothing."""
    circuits = Circuits()
    submission = Submission(circuits.endpoint)
    assert circuits.admit(submission) is circuits.admit(submission)


def test_each_change_of_state_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each line has the endpoint, the reason and the counts; refusals appear only as a count."""
    circuits = Circuits()
    with caplog.at_level(logging.INFO, "penstock"):
        circuits.open()
        for _ in range(3):
            assert circuits.refuses
        circuits.clock.now += 2.0
        circuits.call("handler-error")
        circuits.clock.now += 4.0
        circuits.call("ok")
    lines = [(record.event, record.levelname, record.fields) for record in caplog.records]  # type: ignore[attr-defined]
    assert lines == [
        (
            "circuit-opened",
            "WARNING",
            {"endpoint": "square", "seconds": 2.0, "reopened": 0, "calls": 4, "failed": 4, "slow": 0},
        ),
        ("circuit-half-open", "INFO", {"endpoint": "square", "refused": 3}),
        (
            "circuit-opened",
            "WARNING",
            {"endpoint": "square", "seconds": 4.0, "reopened": 1, "request_id": "r-1", "refused": 3},
        ),
        ("circuit-half-open", "INFO", {"endpoint": "square", "refused": 3}),
        ("circuit-closed", "INFO", {"endpoint": "square", "refused": 3}),
    ]
    messages = [record.msg for record in caplog.records]
    assert messages[0] == "the circuit of square is open for 2 s: of 4 calls, 4 failed and 0 were slow"
    assert messages[2] == "the circuit of square is open for 4 s: a probe failed (handler-error)"


# ---- settings


def settings(table: dict[str, Any]) -> BreakerSettings:
    return Sources({"breaker": {"enabled": True, **table}}, {}).resolve("breaker", BreakerSettings).settings


def test_an_endpoint_may_have_settings_of_its_own() -> None:
    """A setting it leaves out keeps the general value; it may set null, and it may have no breaker at all."""
    given_ = settings(
        {
            "min_calls": 7,
            "slow_seconds": 2.0,
            "endpoints": {
                "ocr": {"slow_seconds": 20, "failure_rate": None},
                "never": {"enabled": False},
            },
        }
    )
    usual, ocr = given_.limits_of("square"), given_.limits_of("ocr")
    assert usual == CircuitLimits(min_calls=7, slow_seconds=2.0)
    assert ocr == CircuitLimits(min_calls=7, slow_seconds=20.0, failure_rate=None)
    assert given_.limits_of("never") is None


def test_the_environment_sets_endpoints_in_json() -> None:
    """Like every setting that is a table, ``endpoints`` is JSON in the environment."""
    environ = {"PENSTOCK_BREAKER_ENDPOINTS": '{"ocr": {"min_calls": 3}}', "PENSTOCK_BREAKER_FAILURE_RATE": "0.25"}
    resolved = Sources({}, environ).resolve("breaker", BreakerSettings).settings
    assert resolved.limits_of("ocr") == CircuitLimits(min_calls=3, failure_rate=0.25)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"failure_rate": 0}, "failure_rate"),
        ({"failure_rate": 50}, "failure_rate"),
        ({"slow_seconds": -1}, "slow_seconds"),
        ({"window": float("inf")}, "window"),
        ({"window": float("nan")}, "window"),
        ({"min_calls": 0}, "min_calls"),
        ({"probes": 1.5}, "probes"),
        ({"failure_rate": None}, "nothing can open the circuit; set one of them, or enabled = false"),
        ({"open_seconds": 300}, r"max_open_seconds = 120 is less than open_seconds = 300; raise the one"),
        ({"endpoints": {"ocr": {"max_open_seconds": 1}}}, r"endpoint 'ocr': max_open_seconds = 1 is less"),
        ({"endpoints": {"ocr": {"min_cals": 1}}}, "min_cals"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(table: dict[str, Any], complaint: str) -> None:
    """The error names the setting and the fix."""
    with pytest.raises(PluginError, match=complaint):
        settings(table)


def test_settings_of_an_endpoint_that_is_not_there_are_refused() -> None:
    """The error suggests the endpoint that was probably meant."""
    app = App("tests")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    plugin = BreakerPlugin(settings({"endpoints": {"squire": {"min_calls": 3}}}))
    with pytest.raises(PluginError, match="'squire', which does not exist; did you mean square"):
        plugin.check(app)
    BreakerPlugin(settings({"endpoints": {"square": {"min_calls": 3}}})).check(app)
