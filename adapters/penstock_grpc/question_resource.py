"""A call that a route answers, beside the engine and without a job."""

from __future__ import annotations

import re
from typing import Any, Final

from penstock.hooks import RouteRequest, RouteResponse, RpcQuestion, RpcRequest, RpcService
from penstock_grpc.rpc_exchange import RpcExchange
from penstock_grpc.rpc_resource import RpcResource
from penstock_grpc.rpc_targets import result_of
from penstock_grpc.rpc_writing import write
from penstock_grpc.serving_host import ServingHost

_VARIABLE: Final = re.compile(r"\{(\w+)(?::path)?\}")


class QuestionResource(RpcResource):
    """A method that a route answers.

    Parameters
    ----------
    host:
        The service with the engine.
    service, question:
        The records.
    """

    def __init__(self, host: ServingHost, service: RpcService, question: RpcQuestion) -> None:
        super().__init__(host, question.route, f"/{service.name}/{question.name}")
        self._question = question

    async def _answer(self, exchange: RpcExchange, message: bytes, context: Any, held: list[Any]) -> bool:
        request = RpcRequest(request_id=exchange.request_id, path=self.path, header=exchange.header, message=message)
        values = self._question.read(request)
        if self._host.engine is None:
            self._host.start()
        route = self._question.route
        asked = RouteRequest(
            request_id=exchange.request_id,
            method=route.method,
            path=_VARIABLE.sub(lambda found: values[found[1]], route.path),
            path_values=values,
            header=exchange.header,
            address=exchange.address,
            principal=exchange.principal,
        )
        call = self._host.ask(route, asked, exchange)
        held.append(call)
        while call.outcome is None:
            await call.wait()
        outcome = await result_of(call)
        response = RouteResponse(body=outcome.body, status=outcome.status, headers=outcome.headers or {})
        answer = self._question.reply(response)
        context.set_trailing_metadata(tuple(exchange.metadata()))
        await write(context, answer, call)
        exchange.record(self._host, call, outcome.status, "ok")
        return False
