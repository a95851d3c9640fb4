"""The caller's deadline, the operator's limits, and the headers for the next service."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import App, Context, Timeouts
from penstock.errors import Cancelled, DeadlineInfeasible, MalformedRequest, PluginError
from penstock.hooks import Endpoint, Principal, Submission
from penstock.hooks.registry import Registry
from penstock.hooks.settings import Sources
from penstock_timeouts import TimeoutsPlugin

SECONDS_HEADERS = ["X-Request-Timeout", "x-request-timeout-seconds", "x-stainless-read-timeout"]
ALL_HEADERS = [*SECONDS_HEADERS, "grpc-timeout", "x-envoy-expected-rq-timeout-ms"]


def endpoint(timeouts: Timeouts | None = None) -> Endpoint:
    app = App("tests")

    @app.endpoint("/square", timeouts=timeouts or Timeouts())
    def square(input: float) -> float:
        return input**2

    return app.endpoints[0]


def stream() -> Endpoint:
    app = App("tests")

    @app.endpoint("/count")
    def count(n: int) -> Iterator[int]:
        yield from range(n)

    return app.endpoints[0]


def plugin(**settings: Any) -> TimeoutsPlugin:
    return TimeoutsPlugin(msgspec.convert(settings, TimeoutsPlugin.Settings))


def policy(of: Endpoint, **settings: Any) -> Callable[[Submission], Timeouts | None]:
    found = Registry([plugin(**settings)]).timeout_policy(of)
    assert found is not None
    return found


def submission(of: Endpoint, headers: dict[str, str] | None = None, principal: str | None = None) -> Submission:
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    who = None if principal is None else Principal(principal)
    return Submission(of, request_id="r1", header=lowered.get, principal=who)


def ask(sent: dict[str, str], own: Timeouts | None = None, **settings: Any) -> Timeouts | None:
    of = endpoint(own)
    return policy(of, **settings)(submission(of, sent))


# ---- the caller's deadline


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        *[(name, "2.5", 2.5) for name in SECONDS_HEADERS],
        *[(name, "600", 600.0) for name in SECONDS_HEADERS],
        ("X-Request-Timeout", "0.001", 0.001),
        ("x-envoy-expected-rq-timeout-ms", "1500", 1.5),
        ("grpc-timeout", "1H", 3600.0),
        ("grpc-timeout", "2M", 120.0),
        ("grpc-timeout", "3S", 3.0),
        ("grpc-timeout", "250m", 0.25),
        ("grpc-timeout", "5000u", 0.005),
        ("grpc-timeout", "99999999n", 0.099999999),
    ],
)
def test_each_header_is_understood(name: str, value: str, seconds: float) -> None:
    """A caller's deadline becomes the total timeout, whichever of the five headers carries it."""
    found = ask({name: value})
    assert found is not None
    assert found.total == pytest.approx(seconds)


def test_everything_else_stays_as_the_endpoint_has_it() -> None:
    """Only the total comes from the caller; in particular the grace is the endpoint's, not a default."""
    own = Timeouts(queue=7, execution=8, first_chunk=9, idle=10, grace=11)
    assert ask({"X-Request-Timeout": "3"}, own) == Timeouts(
        queue=7, execution=8, total=3, first_chunk=9, idle=10, grace=11
    )


def test_the_tightest_of_several_counts() -> None:
    """The tightest deadline applies: a proxy may have added its own header to the caller's."""
    found = ask({"X-Request-Timeout": "5", "grpc-timeout": "2S", "x-envoy-expected-rq-timeout-ms": "9000"})
    assert found is not None
    assert found.total == 2


def test_a_caller_never_widens() -> None:
    """A deadline later than the endpoint's changes nothing."""
    assert ask({"X-Request-Timeout": "5"}, Timeouts(total=4)) is None
    assert ask({"X-Request-Timeout": "4"}, Timeouts(total=4)) is None
    assert ask({"grpc-timeout": "99999999H"}, Timeouts(total=4)) is None


def test_without_a_header_nothing_changes() -> None:
    """Without a deadline header the endpoint's timeouts apply, as for most requests."""
    assert ask({}) is None
    assert ask({"Content-Type": "application/json"}) is None


@pytest.mark.parametrize("name", ALL_HEADERS)
@pytest.mark.parametrize(
    "value",
    [
        "", " ", "-1", "+1", "nan", "inf", "-inf", "Infinity", "1e3", "1_000", "0x10", "1,5", "5, 3", "1.2.3", ".5",
        "5.", "five", "1 S", "1s", "S", "1SS", "123456789S", "\u0661", "\u00b2", "5\n", "5\x00", "9" * 13, "9" * 10_000,
    ],
)  # fmt: skip
def test_an_invalid_value_is_refused(name: str, value: str) -> None:
    """A malformed, negative, non-finite or absurdly long value is a 400 that names the header and the valid form."""
    with pytest.raises(MalformedRequest) as caught:
        ask({name: value})
    error = caught.value
    assert (error.status, error.param) == (400, name)
    assert error.detail.startswith(f"{name}: ")
    assert "cannot be read; give " in error.detail
    assert error.errors == [{"path": name, "reason": error.detail}]
    assert len(error.detail) < 200
    assert error.detail.isprintable()


@pytest.mark.parametrize(
    ("name", "value"),
    [("x-envoy-expected-rq-timeout-ms", "2.5"), ("grpc-timeout", "5"), ("X-Request-Timeout", "5S")],
)
def test_one_header_does_not_take_the_form_of_another(name: str, value: str) -> None:
    """Otherwise a value that is wrong by a factor of a thousand would go unnoticed."""
    with pytest.raises(MalformedRequest):
        ask({name: value})


def test_one_malformed_header_is_refused_beside_a_good_one() -> None:
    """One malformed header is refused in any order of headers: the caller has a mistake to fix."""
    with pytest.raises(MalformedRequest, match="grpc-timeout"):
        ask({"X-Request-Timeout": "1", "grpc-timeout": "soon"})
    with pytest.raises(MalformedRequest, match="X-Request-Timeout"):
        ask({"X-Request-Timeout": "soon", "grpc-timeout": "1S"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Request-Timeout", "0"),
        ("X-Request-Timeout", "0.000"),
        ("grpc-timeout", "0m"),
        ("x-envoy-expected-rq-timeout-ms", "0"),
    ],
)
def test_a_deadline_that_has_passed_starts_nothing(name: str, value: str) -> None:
    """Zero is well formed but leaves no time to work: 503, as for any deadline that cannot be met."""
    with pytest.raises(DeadlineInfeasible, match=f"^{name}: ") as caught:
        ask({name: value})
    assert (caught.value.status, caught.value.code) == (503, "deadline-infeasible")
    assert not caught.value.retryable


def test_retries_share_the_callers_deadline() -> None:
    """The tightest counts. The read timeout of the OpenAI client does not: each of its retries waits as long again."""
    of = endpoint()
    asked = submission(of, {"X-Request-Timeout": "9", "grpc-timeout": "4S", "x-stainless-read-timeout": "1"})
    found = policy(of)(asked)
    assert found is not None
    assert (found.total, asked.caller_timeout) == (1, 4)


def test_the_operators_limits_are_not_the_callers_deadline() -> None:
    """A limit of the server's begins anew with each retry."""
    of = endpoint()
    asked = submission(of)
    assert policy(of, default={"total": 3})(asked) == Timeouts(total=3)
    assert asked.caller_timeout is None


def test_a_read_timeout_says_nothing_about_a_stream() -> None:
    """The OpenAI client means the wait for the next bytes; a whole stream may take much longer."""
    of = stream()
    decide = policy(of)
    assert decide(submission(of, {"x-stainless-read-timeout": "2"})) is None
    assert decide(submission(of, {"x-stainless-read-timeout": "nonsense"})) is None
    found = decide(submission(of, {"X-Request-Timeout": "3"}))
    assert found is not None
    assert found.total == 3


@given(st.floats(min_value=0.001, max_value=1e6), st.none() | st.floats(min_value=0.01, max_value=1e6))
def test_any_deadline_tightens_and_none_widens(wished: float, own: float | None) -> None:
    """The resulting total is never longer than the endpoint's or the caller's."""
    found = ask({"X-Request-Timeout": f"{wished:.6f}"}, Timeouts(total=own))
    total = own if found is None else found.total
    assert total is not None
    assert total <= wished + 1e-6
    assert own is None or total <= own


@given(st.text(max_size=30))
def test_every_text_is_read_or_refused(text: str) -> None:
    """Any header value yields timeouts or a refusal, never another exception."""
    for name in ALL_HEADERS:
        try:
            found = ask({name: text})
        except (MalformedRequest, DeadlineInfeasible):
            continue
        assert found is not None
        assert found.total is not None
        assert 0 < found.total < math.inf


def test_the_same_deadline_creates_no_new_object() -> None:
    """Clients mostly send the same number, and timeouts are validated on creation."""
    of = endpoint()
    decide = policy(of)
    first = decide(submission(of, {"X-Request-Timeout": "2.5"}))
    assert decide(submission(of, {"x-envoy-expected-rq-timeout-ms": "2500"})) is first


# ---- the operator's limits


def test_the_default_applies_to_all_callers() -> None:
    """The operator's limits apply without a deadline header, and together with one."""
    settings = {"default": {"total": 10, "queue": 1}}
    assert ask({}, **settings) == Timeouts(total=10, queue=1)
    assert ask({"X-Request-Timeout": "3"}, **settings) == Timeouts(total=3, queue=1)
    assert ask({"X-Request-Timeout": "30"}, **settings) == Timeouts(total=10, queue=1)


def test_limits_never_widen_either() -> None:
    """No caller gets more than the endpoint declares."""
    own = Timeouts(queue=0.5, execution=2, total=3)
    assert ask({}, own, default={"queue": 5, "execution": 1, "total": 60}) == Timeouts(queue=0.5, execution=1, total=3)


def test_a_principal_has_limits_of_its_own() -> None:
    """They replace the default's, field by field; other principals and anonymous callers get the default's."""
    of = endpoint()
    decide = policy(of, default={"total": 10, "queue": 1}, principals={"batch": {"total": 60}, "web": {"total": 2}})
    assert decide(submission(of, principal="batch")) == Timeouts(total=60, queue=1)
    assert decide(submission(of, principal="web")) == Timeouts(total=2, queue=1)
    assert decide(submission(of, principal="another")) == Timeouts(total=10, queue=1)
    assert decide(submission(of)) == Timeouts(total=10, queue=1)
    assert decide(submission(of, {"grpc-timeout": "1S"}, "batch")) == Timeouts(total=1, queue=1)


def test_headers_can_be_switched_off() -> None:
    """A header that is not listed is not even read; names are case-insensitive."""
    assert ask({"grpc-timeout": "nonsense", "X-Request-Timeout": "2"}, headers=["X-Request-Timeout"]) == Timeouts(
        total=2
    )


def test_with_nothing_to_do_it_is_idle() -> None:
    """Without a header, and without a limit that tightens anything, the endpoint has no policy at all."""
    assert Registry([plugin(headers=[])]).timeout_policy(endpoint()) is None
    slack = plugin(headers=[], default={"execution": 1000})
    assert Registry([slack]).timeout_policy(endpoint()) is None


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"headers": ["x-request-timout"]}, "header 'x-request-timout'; did you mean x-request-timeout?"),
        ({"headers": ["date"]}, "there are: grpc-timeout, x-envoy"),
        ({"default": {"total": 0}}, "total = 0 is not a limit; set seconds greater than 0"),
        ({"default": {"total": -1}}, "total = -1 is not a limit"),
        ({"default": {"idle": math.inf}}, "idle = inf is not a limit"),
        ({"default": {"totl": 1}}, "totl"),
        ({"principals": {"web": {"total": "soon"}}}, "float"),
    ],
)
def test_wrong_settings_stop_the_start(table: dict[str, Any], complaint: str) -> None:
    """An invalid setting is refused, with its name and the fix."""
    with pytest.raises(PluginError) as caught:
        Sources({"timeouts": table}, {}).resolve("timeouts", TimeoutsPlugin.Settings)
    assert complaint in str(caught.value)
    assert "timeouts" in str(caught.value)


def test_settings_come_from_the_environment_too() -> None:
    """Lists with commas, tables in JSON."""
    environ = {
        "PENSTOCK_TIMEOUTS_HEADERS": "grpc-timeout, X-Request-Timeout",
        "PENSTOCK_TIMEOUTS_PRINCIPALS": '{"web": {"total": 2}}',
    }
    settings = Sources({}, environ).resolve("timeouts", TimeoutsPlugin.Settings).settings
    assert settings.headers == ("grpc-timeout", "X-Request-Timeout")
    assert settings.principals["web"].total == 2.0


# ---- headers for the next service


def in_the_future(seconds: float) -> float:
    return time.monotonic() + seconds


def test_the_remaining_time_is_sent_in_three_notations() -> None:
    """All three are equal, in whole milliseconds, and never more than the remaining time."""
    headers = Context(request_id="r1", deadline=in_the_future(5.0)).headers_for_downstream()
    milliseconds = int(headers["x-envoy-expected-rq-timeout-ms"])
    assert 4000 < milliseconds < 5000
    assert headers == {
        "X-Request-Id": "r1",
        "X-Request-Timeout": f"{milliseconds / 1000:.3f}",
        "grpc-timeout": f"{milliseconds}m",
        "x-envoy-expected-rq-timeout-ms": str(milliseconds),
    }


def test_without_a_deadline_only_the_id_is_sent() -> None:
    """For a batch, whose jobs have an id each, not even the id is sent."""
    assert Context(request_id="r1").headers_for_downstream() == {"X-Request-Id": "r1"}
    assert Context().headers_for_downstream() == {}


def test_the_context_of_a_batch_sends_its_deadline() -> None:
    """A batch has no id, but it has a deadline."""
    assert set(Context(deadline=in_the_future(5.0)).headers_for_downstream()) == {
        "X-Request-Timeout",
        "grpc-timeout",
        "x-envoy-expected-rq-timeout-ms",
    }


@pytest.mark.parametrize("left", [-1.0, 0.0, 0.0009])
def test_no_service_is_called_with_no_time_left(left: float) -> None:
    """If the deadline has passed, or is less than a millisecond away, the attempt ends instead."""
    with pytest.raises(Cancelled):
        Context(request_id="r1", deadline=in_the_future(left)).headers_for_downstream()


def test_no_service_is_called_for_a_caller_who_has_hung_up() -> None:
    """The attempt ends, as in ``check``: no caller waits for the result."""
    with pytest.raises(Cancelled):
        Context(request_id="r1", is_cancelled=lambda: True).headers_for_downstream()


def test_grpc_has_eight_digits_and_no_more() -> None:
    """Beyond a day the unit is seconds instead of milliseconds, and the longest value is three years."""
    days = Context(deadline=in_the_future(30 * 86400)).headers_for_downstream()
    assert days["grpc-timeout"] == "2591999S"
    ages = Context(deadline=in_the_future(1e12)).headers_for_downstream()
    assert ages["grpc-timeout"] == "99999999S"


@given(st.floats(min_value=0.01, max_value=1e9))
def test_the_plug_in_reads_the_headers_for_the_next_service(seconds: float) -> None:
    """Each header reads back as a deadline that is no later than the original one."""
    deadline = in_the_future(seconds)
    headers = Context(deadline=deadline).headers_for_downstream()
    left = deadline - time.monotonic()
    for name in headers:
        found = ask({name: headers[name]})
        assert found is not None
        assert found.total is not None
        assert found.total <= left + 0.5  # however slow this test is, the clock has only gone on
        assert found.total <= seconds
