"""A real ``penstock serve --grpc-port`` with the real client of gRPC."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from penstock_grpc.endpoints_pb2 import CallReply, CallRequest
from penstock_grpc.endpoints_pb2_grpc import EndpointsStub
from tests.e2e.apps.marks import FOLDER_VARIABLE
from tests.serving import HOST, ROOT, Served, free_port, wait_until

TARGET = ROOT / "tests" / "e2e" / "apps" / "grpc_app.py"
PATIENCE = 20.0


class GrpcServed(Served):
    """A server with a port for gRPC; ``marks`` is the folder of the marks of its handlers."""

    def __init__(
        self,
        *options: str,
        marks: Path,
        target: Path = TARGET,
        environment: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        self.grpc_port = free_port()
        variables = {FOLDER_VARIABLE: str(marks), **(environment or {})}
        grpc_options = ("--grpc-port", str(self.grpc_port), "--log-format", "json")
        super().__init__(target, *grpc_options, *options, environment=variables, **more)

    @contextlib.contextmanager
    def channel(self, *options: tuple[str, Any]) -> Iterator[grpc.Channel]:
        """Return a channel with a connection of its own."""
        own = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1), *options]
        with grpc.insecure_channel(f"{HOST}:{self.grpc_port}", options=own) as channel:
            yield channel

    @contextlib.contextmanager
    def stub(self, *options: tuple[str, Any]) -> Iterator[EndpointsStub]:
        """Return the generated client of the generic service, on a connection of its own."""
        with self.channel(*options) as channel:
            yield EndpointsStub(channel)


def asks(endpoint: str, value: Any = None, media_type: str = "") -> CallRequest:
    """Return a message for an endpoint, with a JSON body unless it is bytes already."""
    body = b"" if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
    return CallRequest(endpoint=endpoint, body=body, media_type=media_type)


def value_of(reply: CallReply) -> Any:
    """Return the JSON value of a reply."""
    return json.loads(reply.body)


@dataclass
class Refused:
    """The end of a call that failed: its status, its message, its trailing metadata, and the details in it."""

    code: grpc.StatusCode
    message: str
    trailing: dict[str, str]
    details: dict[str, Any]

    @property
    def name(self) -> str:
        """The code of Penstock's error."""
        return self.trailing.get("penstock-code", "")

    @classmethod
    def of(cls, error: Any) -> Refused:
        trailing = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
        details: dict[str, Any] = {}
        status = rpc_status.from_call(error)
        if status is not None:
            assert (status.code, status.message) == (error.code().value[0], error.details())
            for packed in status.details:
                for kind in (ErrorInfo, RetryInfo, BadRequest):
                    if packed.Is(kind.DESCRIPTOR):
                        message = details[kind.__name__] = kind()
                        packed.Unpack(message)
        return cls(error.code(), error.details(), trailing, details)


def refusal(call: Any, *arguments: Any, **more: Any) -> Refused:
    """Make a call that fails, and return how it ends."""
    try:
        found = call(*arguments, **{"timeout": PATIENCE, **more})
        if hasattr(found, "code"):  # a stream
            found = list(found)
    except grpc.RpcError as error:
        return Refused.of(error)
    raise AssertionError(f"the call has not failed: {found}")


class GrpcLoad:
    """Calls that are made one after the other, on several connections, as long as the block runs.

    Parameters
    ----------
    served:
        The server.
    connections:
        Their number. Each second one is a new connection for each call.

    Attributes
    ----------
    outcomes:
        The outcomes with their numbers: "ok", or the name of the status with its message.
    """

    def __init__(self, served: GrpcServed, connections: int = 4) -> None:
        self.outcomes: Counter[str] = Counter()
        self._served = served
        self._has_ended = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(bool(n % 2),)) for n in range(connections)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count: int) -> None:
        """Wait until this many more calls have had an answer."""
        goal = self.outcomes["ok"] + count
        wait_until(lambda: self.outcomes["ok"] >= goal, f"{count} more calls", timeout=30.0)

    def _work(self, is_new_each_time: bool) -> None:
        while not self._has_ended.is_set():
            with self._served.stub() as stub:
                self._call(stub)
                while not (is_new_each_time or self._has_ended.is_set()):
                    self._call(stub)

    def _call(self, stub: EndpointsStub) -> None:
        method, endpoint, value = random.choice([
            (stub.Call, "square", {"input": 2.0}),
            (stub.Stream, "count", {"n": 3, "delay": 0.01}),
        ])  # fmt: skip
        try:
            found = method(asks(endpoint, value), timeout=PATIENCE)
            if method is stub.Stream:
                assert len(list(found)) == 3
            self.outcomes["ok"] += 1
        except grpc.RpcError as error:
            self.outcomes[f"{error.code().name}: {error.details()}"] += 1
            time.sleep(0.01)
