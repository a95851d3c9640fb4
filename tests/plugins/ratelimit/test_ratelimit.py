"""Limits on how often each caller may send requests, and how many at a time."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import App
from penstock.errors import PluginError, RateLimited
from penstock.hooks import Endpoint, JobAnswered, Principal, Release, Submission
from penstock.hooks.registry import Registry
from penstock.hooks.settings import Sources
from penstock.testing import MockClock
from penstock_ratelimit import RateLimitPlugin, memory
from penstock_ratelimit.callers import network
from penstock_ratelimit.gate_factory import GateFactory
from penstock_ratelimit.memory import LocalStorage

OVER = JobAnswered(endpoint="square", request_id="r1", code="ok")
# An sf-list of sf-strings with parameters, as RFC 9651 writes them.
ITEM = r'"[\x20\x21\x23-\x5b\x5d-\x7e]+"(;[a-z]+=([0-9]+|"[a-z-]+"|:[A-Za-z0-9+/=]*:))+'
FIELD = re.compile(rf"{ITEM}(, {ITEM})*")


def an_app() -> App:
    app = App("tests")

    @app.endpoint("/square")
    def square(input: float) -> float:
        return input**2

    @app.endpoint("/models/cube")
    def cube(input: float) -> float:
        return input**3

    return app


class Server:
    """The plug-in as the server sees it: an admission policy for each endpoint."""

    def __init__(self, clock: MockClock | None = None, **settings: Any) -> None:
        self.clock = clock or MockClock(1000.0)
        converted = msgspec.convert(settings, RateLimitPlugin.Settings)
        self.plugin = RateLimitPlugin(converted, clock=self.clock)
        registry = Registry([self.plugin])
        self.endpoints: dict[str, Endpoint] = {endpoint.name: endpoint for endpoint in an_app().endpoints}
        self.policies: dict[str, list[Callable[[Submission], Release | None]]] = {
            name: registry.admission_policies(endpoint) for name, endpoint in self.endpoints.items()
        }

    @property
    def factory(self) -> GateFactory:
        assert self.plugin.factory is not None
        return self.plugin.factory

    def submission(
        self, name: str = "square", *, address: str = "192.0.2.1", principal: str | None = None, **headers: str
    ) -> Submission:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        who = None if principal is None else Principal(principal)
        return Submission(self.endpoints[name], address=address, principal=who, header=given.get)

    def pass_through(self, submission: Submission) -> Submission:
        for policy in self.policies[submission.endpoint.name]:
            release = policy(submission)
            if release is not None:
                submission.add_release(release)
        return submission

    def ask(self, name: str = "square", **more: Any) -> Submission:
        return self.pass_through(self.submission(name, **more))

    def refuses(self, name: str = "square", **more: Any) -> RateLimited | None:
        try:
            self.ask(name, **more)
        except RateLimited as error:
            return error
        return None

    def admitted(self, count: int, name: str = "square", **more: Any) -> int:
        return sum(self.refuses(name, **more) is None for _ in range(count))


def fields(submission: Submission) -> dict[str, str]:
    return dict(submission.response_headers)


# ---- rates


@pytest.mark.parametrize("strategy", ["fixed-window", "moving-window", "sliding-window-counter"])
def test_a_caller_has_a_number_of_requests(strategy: str) -> None:
    """The first hundred pass, the next is a 429 with the time to wait, and another caller is not affected."""
    server = Server(requests=["100/minute"], strategy=strategy)
    assert server.admitted(100) == 100
    error = server.refuses()
    assert error is not None
    assert (error.status, error.code) == (429, "rate-limited")
    assert error.retry_after is not None
    assert 1 <= error.retry_after <= 60
    assert error.detail == f"the limit is 100 requests in 60 s for each caller; send the next in {error.retry_after} s"
    assert server.admitted(1, address="192.0.2.2") == 1


@pytest.mark.parametrize("strategy", ["fixed-window", "moving-window", "sliding-window-counter"])
def test_a_caller_who_waits_as_asked_is_admitted(strategy: str) -> None:
    """Two windows later everything is forgotten, with every strategy."""
    server = Server(requests=["5/minute"], strategy=strategy)
    assert server.admitted(6) == 5
    server.clock.advance(120)
    assert server.admitted(6) == 5


def test_a_fixed_window_begins_with_its_first_request() -> None:
    """The window ends a minute after its first request, and ``Retry-After`` counts down to that instant."""
    server = Server(requests=["2/minute"])
    server.ask()
    server.clock.advance(50)
    server.ask()
    server.clock.advance(2.5)
    error = server.refuses()
    assert error is not None
    assert error.retry_after == 8  # 7.5 s, rounded up
    server.clock.advance(7.5)
    assert server.admitted(3) == 2


def test_a_moving_window_admits_as_the_oldest_request_leaves() -> None:
    """At no instant does the last minute contain more requests than the limit."""
    server = Server(requests=["2/minute"], strategy="moving-window")
    server.ask()
    server.clock.advance(50)
    server.ask()
    error = server.refuses()
    assert error is not None
    assert error.retry_after == 10
    server.clock.advance(10)
    assert server.admitted(2) == 1


def test_a_sliding_counter_forgets_by_degrees() -> None:
    """Halfway through a window, half of the one before still counts."""
    server = Server(MockClock(6000.0), requests=["10/minute"], strategy="sliding-window-counter")
    assert server.admitted(11) == 10
    server.clock.advance(90)
    assert server.admitted(11) == 5


def test_refused_requests_do_not_use_up_the_longer_rate() -> None:
    """A caller over the limit per second is not penalized for the rest of the minute."""
    server = Server(requests=["20/minute", "10/second"])
    assert server.admitted(50) == 10
    server.clock.advance(1)
    assert server.admitted(50) == 10
    server.clock.advance(1)
    error = server.refuses()
    assert error is not None
    assert "20 requests in 60 s" in error.detail


@given(st.lists(st.floats(min_value=0.0, max_value=30.0), max_size=60), st.integers(1, 5))
def test_a_moving_window_never_holds_more_than_its_limit(pauses: list[float], limit: int) -> None:
    """Whenever requests arrive, no period of 60 seconds admits more than the limit."""
    server = Server(requests=[f"{limit}/minute"], strategy="moving-window")
    passed = []
    for pause in pauses:
        server.clock.advance(pause)
        if server.refuses() is None:
            passed.append(server.clock())
    for instant in passed:
        assert sum(instant <= other < instant + 60 for other in passed) <= limit


# ---- the response fields


def test_every_response_reports_the_callers_limits() -> None:
    """A successful response too has the policy, the remaining requests, and the seconds until the window ends."""
    server = Server(requests=["100/minute"])
    assert fields(server.ask()) == {
        "ratelimit-policy": '"default";q=100;w=60',
        "ratelimit": '"default";r=99;t=60',
    }
    server.clock.advance(12.3)
    assert fields(server.ask())["ratelimit"] == '"default";r=98;t=48'


def test_a_refusal_reports_them_too() -> None:
    """No request remains, and ``t`` equals ``Retry-After``."""
    server = Server(requests=["1/minute"])
    server.ask()
    server.clock.advance(20)
    submission = server.submission()
    with pytest.raises(RateLimited) as caught:
        server.pass_through(submission)
    assert fields(submission)["ratelimit"] == '"default";r=0;t=40'
    assert caught.value.retry_after == 40
    assert caught.value.detail == "the limit is 1 request in 60 s for each caller; send the next in 40 s"


def test_several_limits_are_reported_by_name() -> None:
    """Two rates have their seconds in the name; concurrent requests have a unit of their own."""
    server = Server(requests=["100/minute", "10/second"], concurrent=4)
    assert fields(server.ask()) == {
        "ratelimit-policy": (
            '"concurrent";q=4;qu="concurrent-requests", "default-1s";q=10;w=1, "default-60s";q=100;w=60'
        ),
        "ratelimit": '"concurrent";r=3, "default-1s";r=9;t=1, "default-60s";r=99;t=60',
    }


def test_an_endpoint_with_its_own_limit_is_a_partition() -> None:
    """Requests that are counted separately are reported so: the draft's partition key is the endpoint's name."""
    server = Server(requests=["100/minute"], endpoints={"models/cube": {"requests": ["5/minute"]}})
    assert fields(server.ask("models/cube")) == {
        "ratelimit-policy": '"endpoint";q=5;w=60;pk=:bW9kZWxzL2N1YmU=:',
        "ratelimit": '"endpoint";r=4;t=60;pk=:bW9kZWxzL2N1YmU=:',
    }


@pytest.mark.parametrize("name", ['"', "a\r\nset-cookie: x=1", "\\", 'web";r=99999', "\u2028", "x" * 10_000, ""])
@pytest.mark.parametrize("by", ["principal", "key", "address"])
def test_no_text_from_a_caller_gets_into_the_fields(name: str, by: str) -> None:
    """Names, keys and addresses serve for counting and are never shown."""
    server = Server(requests=["9/minute", "9/second"], concurrent=9, by=by, principals={name: {"concurrent": 8}})
    for who in (name, None):
        submission = server.ask(principal=who, address=name, x_api_key=name)
        for value in fields(submission).values():
            assert FIELD.fullmatch(value), value
            assert len(value) < 150


# ---- concurrent requests


def test_a_caller_has_a_number_of_permits() -> None:
    """The third concurrent request is refused until one of the other two has ended."""
    server = Server(concurrent=2)
    first, second = server.ask(), server.ask()
    error = server.refuses()
    assert error is not None
    assert error.status == 429
    assert "you have 2 requests in progress" in error.detail
    assert server.refuses(address="192.0.2.2") is None
    first.close(OVER)
    assert server.refuses() is None
    assert server.refuses() is not None
    assert second.has_releases


@pytest.mark.parametrize("code", ["ok", "handler-error", "cancelled", "execution-timeout", "queue-full", "hook-error"])
def test_a_permit_is_released_whatever_the_outcome_of_the_job(code: str) -> None:
    """It is released only once, even if the end is reported repeatedly."""
    server = Server(concurrent=1)
    for _ in range(3):
        submission = server.ask()
        assert server.refuses() is not None
        answered = JobAnswered(endpoint="square", request_id="r1", code=code)
        submission.close(answered)
        submission.close(answered)


def test_a_rate_that_refuses_releases_the_permit() -> None:
    """Otherwise a caller over the rate would be locked out permanently."""
    server = Server(requests=["3/minute"], concurrent=1)
    for _ in range(3):
        server.ask().close(OVER)
    for _ in range(5):
        assert server.refuses() is not None
    server.clock.advance(60)
    assert server.refuses() is None


def test_a_refusal_for_lack_of_permits_does_not_count_against_the_rate() -> None:
    """The permits are checked first."""
    server = Server(requests=["3/minute"], concurrent=1)
    first = server.ask()
    for _ in range(10):
        assert server.refuses() is not None
    first.close(OVER)
    assert fields(server.ask())["ratelimit"] == '"concurrent";r=0, "default";r=1;t=60'


def test_a_caller_without_permits_is_forgotten() -> None:
    """Memory grows with the requests in progress, not with the callers ever seen."""
    server = Server(concurrent=2)
    for number in range(1000):
        server.ask(address=f"192.0.2.{number}").close(OVER)
    [permits] = server.factory.permits.values()
    assert repr(permits) == "<Permits 2 each: 0 held by 0>"


def test_permits_may_be_released_in_another_thread() -> None:
    """With Redis they are acquired in threads of a pool, and released in the engine's thread."""
    server = Server(concurrent=4)
    submissions: list[Submission] = []

    def come() -> None:
        for _ in range(500):
            submission = server.submission()
            try:
                server.pass_through(submission)
            except RateLimited:
                continue
            submissions.append(submission)
            submission.close(OVER)

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert submissions
    assert server.admitted(5) == 4


# ---- the identity of a caller


def test_principals_are_distinguished_by_name() -> None:
    """A principal is one caller at any address; an anonymous caller is its address."""
    server = Server(requests=["1/minute"])
    assert server.refuses(principal="web") is None
    assert server.refuses(principal="web", address="192.0.2.9") is not None
    assert server.refuses(principal="batch") is None
    assert server.refuses() is None
    assert server.refuses() is not None


def test_a_name_cannot_be_taken_for_an_address() -> None:
    """A principal whose name looks like another caller's address does not use up that caller's requests."""
    server = Server(requests=["1/minute"])
    assert server.refuses(address="192.0.2.1") is None
    assert server.refuses(principal="192.0.2.1") is None
    assert server.refuses(principal="a:192.0.2.1") is None


def test_addresses_count_if_the_setting_says_so() -> None:
    """Two principals at one address then share its limits."""
    server = Server(requests=["1/minute"], by="address")
    assert server.refuses(principal="web") is None
    assert server.refuses(principal="batch") is not None


def test_each_key_of_a_principal_counts_for_itself() -> None:
    """With ``by = "key"`` keys count separately; the scheme's case and spaces around a key do not matter."""
    server = Server(requests=["1/minute"], by="key")
    assert server.refuses(principal="web", authorization="Bearer one") is None
    assert server.refuses(principal="web", authorization="bearer   one ") is not None
    assert server.refuses(principal="web", x_api_key="one") is not None
    assert server.refuses(principal="web", authorization="Bearer two") is None
    assert server.refuses(principal="batch", authorization="Bearer one") is None


def test_an_unverified_key_does_not_identify_a_caller() -> None:
    """Otherwise any client could pass for a new caller with each request."""
    server = Server(requests=["1/minute"], by="key")
    assert server.refuses(x_api_key="1") is None
    assert server.refuses(x_api_key="2") is not None


def test_a_second_credential_does_not_make_a_new_caller() -> None:
    """Only one of the two was verified; the other may be anything."""
    server = Server(requests=["1/minute"], by="key")
    assert server.admitted(1, principal="web", authorization="Bearer one", x_api_key="1") == 1
    assert server.admitted(9, principal="web", authorization="Bearer one", x_api_key="2") == 0


@pytest.mark.parametrize("authorization", ["", " ", "Bearer", "\udc80"])
def test_odd_credentials_do_no_harm(authorization: str) -> None:
    """The request is counted whatever the header contains."""
    server = Server(requests=["1/minute"], by="key")
    assert server.admitted(2, principal="web", authorization=authorization) == 1


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, counted: str) -> None:
    """The client chooses the last 64 bits itself."""
    assert network(address) == counted


def test_a_network_is_one_caller() -> None:
    """Hosts of one network share its limits, another network does not; an IPv4-mapped address is the IPv4 one."""
    server = Server(requests=["1/minute"])
    assert server.refuses(address="2001:db8::1") is None
    assert server.refuses(address="2001:db8::2") is not None
    assert server.refuses(address="2001:db8:0:1::1") is None
    assert server.refuses(address="192.0.2.1") is None
    assert server.refuses(address="::ffff:192.0.2.1") is not None


# ---- precedence


def test_requests_to_all_endpoints_count_together() -> None:
    """The general limits belong to a caller, not to an endpoint."""
    server = Server(requests=["3/minute"], concurrent=5)
    assert server.admitted(2, "square") + server.admitted(2, "models/cube") == 3


def test_an_endpoint_may_have_limits_of_its_own() -> None:
    """Its requests are counted separately, and do not count at other endpoints."""
    server = Server(requests=["3/minute"], endpoints={"square": {"requests": ["5/minute"]}})
    assert server.admitted(9, "square") == 5
    assert server.admitted(9, "models/cube") == 3


def test_a_principal_may_have_limits_of_its_own() -> None:
    """They take precedence over an endpoint's limits and the general ones."""
    server = Server(
        requests=["3/minute"],
        endpoints={"square": {"requests": ["2/minute"]}},
        principals={"web": {"requests": ["6/minute"]}, "free": {"requests": []}},
    )
    assert server.admitted(9, "square", principal="web") == 6
    assert server.admitted(9, "models/cube", principal="web") == 0
    assert server.admitted(9, "square", principal="another") == 2
    assert server.admitted(99, "square", principal="free") == 99


def test_rates_and_concurrent_requests_are_set_independently() -> None:
    """A limit that an exception does not set keeps its general value; 0 removes the limit."""
    server = Server(
        requests=["3/minute"], concurrent=1, principals={"web": {"concurrent": 2}, "free": {"concurrent": 0}}
    )
    assert server.admitted(9, principal="web") == 2
    assert server.admitted(9, principal="free") == 3
    assert server.admitted(9) == 1


def test_without_limits_it_is_idle() -> None:
    """Only endpoints with limits have a policy."""
    assert Server().policies == {"square": [], "models/cube": []}
    server = Server(endpoints={"square": {"concurrent": 1}})
    assert [len(server.policies[name]) for name in ("square", "models/cube")] == [1, 0]
    assert Server(requests=["1/minute"], endpoints={"square": {"requests": []}}).policies["square"] == []


# ---- memory


@pytest.mark.parametrize("strategy", ["fixed-window", "moving-window", "sliding-window-counter"])
def test_a_caller_who_does_not_return_is_forgotten(strategy: str) -> None:
    """Memory is bounded by the callers of the last two windows."""
    server = Server(requests=["5/second"], strategy=strategy)
    for number in range(2000):
        server.ask(address=f"192.0.2.{number}")
        server.clock.advance(0.1)
    [rate] = server.factory.rates.values()
    assert len(rate._limiter.storage) <= 32  # type: ignore[arg-type] # it is a LocalStorage


@pytest.mark.parametrize("strategy", ["fixed-window", "moving-window", "sliding-window-counter"])
def test_the_number_of_remembered_callers_is_limited(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client with a million addresses costs as much memory as 100,000 callers; the oldest is forgotten."""
    monkeypatch.setattr(memory, "MAX_CALLERS", 10)
    server = Server(requests=["1/hour"], strategy=strategy)
    for number in range(100):
        server.ask(address=f"192.0.2.{number}")
    [rate] = server.factory.rates.values()
    assert len(rate._limiter.storage) == 10  # type: ignore[arg-type] # it is a LocalStorage
    assert server.refuses(address="192.0.2.99") is not None
    assert server.refuses(address="192.0.2.0") is None


def test_the_number_of_instants_in_moving_windows_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is on all callers together; the one whose last request is oldest is forgotten first."""
    monkeypatch.setattr(memory, "MAX_INSTANTS", 20)
    server = Server(requests=["10/hour"], strategy="moving-window")
    for number in range(5):
        assert server.admitted(10, address=f"192.0.2.{number}") == 10
    assert server.admitted(1, address="192.0.2.4") == 0
    assert server.admitted(1, address="192.0.2.0") == 1


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 40), st.booleans()), max_size=80),
)
def test_instants_are_counted_correctly(steps: list[tuple[int, float, bool]]) -> None:
    """The counter behind the limit equals the number of stored instants."""
    clock = MockClock(0.0)
    storage = LocalStorage(clock)
    for caller, pause, is_read in steps:
        clock.advance(pause)
        if is_read:
            storage.get_moving_window(str(caller), 3, 60)
        else:
            storage.acquire_entry(str(caller), 3, 60)
        held = sum(len(entry.items) for entry in storage._instants.entries.values())
        assert storage._instants_held == held
    storage.clear("0")
    assert storage.reset() is not None
    assert len(storage) == 0


def test_it_starts_no_thread() -> None:
    """The library's own storage starts one every 10 ms, which iterates over all callers."""
    before = threading.active_count()
    server = Server(requests=["5/minute"], concurrent=3)
    server.admitted(20)
    assert threading.active_count() == before


# ---- settings


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"requests": ["often"]}, "'often' is not a rate; write it like \"100/minute\""),
        ({"requests": ["0/minute"]}, "'0/minute' would refuse every request"),
        (
            {"requests": ["1/minute; 2/hour"]},
            "'1/minute; 2/hour' contains several rates; make each a list item",
        ),
        ({"requests": ["10/minute", "20 per 60 seconds"]}, "'20 per 60 seconds' is the second limit for 60 s"),
        ({"requests": ["20000/hour"], "strategy": "moving-window"}, "too many for a moving window"),
        ({"principals": {"web": {"requests": ["x"]}}}, "'x' is not a rate"),
        ({"principals": {"web": {"request": ["1/minute"]}}}, "request"),
        ({"concurrent": -1}, "concurrent"),
        ({"strategy": "guess"}, "guess"),
        ({"redis_timeout": 0}, "redis_timeout = 0 is not a timeout; set seconds greater than 0"),
    ],
)
def test_wrong_settings_stop_the_start(table: dict[str, Any], complaint: str) -> None:
    """An invalid setting is refused, with its name and the fix."""
    with pytest.raises(PluginError) as caught:
        Sources({"ratelimit": table}, {}).resolve("ratelimit", RateLimitPlugin.Settings)
    assert complaint in str(caught.value)
    assert "'ratelimit'" in str(caught.value)


def test_limits_of_an_endpoint_that_does_not_exist_stop_the_start() -> None:
    """A limit that applies to no endpoint is a mistake; the error suggests the closest name."""
    close = Server(endpoints={"models/cub": {"concurrent": 1}}).plugin
    with pytest.raises(PluginError, match="endpoint 'models/cub', which does not exist; did you mean models/cube\\?"):
        close.check(an_app())
    far = Server(endpoints={"x": {"concurrent": 1}}).plugin
    with pytest.raises(PluginError, match="there are: models/cube, square"):
        far.check(an_app())
    Server(endpoints={"square": {"concurrent": 1}}).plugin.check(an_app())


def test_settings_come_from_the_environment_too() -> None:
    """Lists with commas, tables in JSON."""
    environ = {
        "PENSTOCK_RATELIMIT_REQUESTS": "100/minute, 10/second",
        "PENSTOCK_RATELIMIT_PRINCIPALS": '{"web": {"requests": [], "concurrent": 3}}',
        "PENSTOCK_RATELIMIT_CONCURRENT": "4",
    }
    settings = Sources({}, environ).resolve("ratelimit", RateLimitPlugin.Settings).settings
    assert settings.requests == ("100/minute", "10/second")
    assert settings.principals["web"].requests == ()
    assert settings.concurrent == 4


def test_the_library_is_imported_only_if_a_limit_is_set() -> None:
    """Every server imports every plug-in, and must not pay for the library without need."""
    program = """
import sys
from penstock import App
from penstock_ratelimit import RateLimitPlugin
app = App("tests")
@app.endpoint("/square")
def square(input: float) -> float:
    return input
plugin = RateLimitPlugin(RateLimitPlugin.Settings())
plugin.check(app)
assert plugin.penstock_admission_policy(app.endpoints[0]) is None
print(sorted({"limits", "redis"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
