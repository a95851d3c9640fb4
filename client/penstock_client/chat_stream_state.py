"""A streamed chat answer as both drivers read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock_client.answer_watch import AnswerWatch
from penstock_client.call_records import Attempt
from penstock_client.chat_answers import ChatAnswer
from penstock_client.chat_decoding import ChatDecoder
from penstock_client.errors import ClientError
from penstock_client.plan_messages import CallSpec
from penstock_client.stream_state import StreamState


class ChatStreamState(StreamState):
    """A stream whose ``partial`` is the answer so far, and not the events.

    Parameters
    ----------
    headers, attempts, watch, spec, on_error:
        See ``StreamState``.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        attempts: tuple[Attempt, ...],
        watch: AnswerWatch,
        spec: CallSpec,
        *,
        on_error: Callable[[ClientError], None],
    ) -> None:
        self._chat = ChatDecoder()
        super().__init__(headers, attempts, watch, spec, keep_bytes=0, decoder=self._chat, on_error=on_error)

    @property
    def partial(self) -> ChatAnswer:
        """The answer so far."""
        return self._chat.assembly.answer(headers=self.headers, attempts=self.attempts)
