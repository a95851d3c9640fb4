"""A server whose responses take a known time, to check the load generator.

``python bench/known_server.py DELAY [STALL_AT STALL]``: it prints its port, which is BENCH_PORT if that is set, and
answers each request after DELAY seconds. If STALL is set, it does nothing at all for that long, once, STALL_AT
seconds after the first request.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"


class KnownServer:
    """Answers after a known delay.

    Parameters
    ----------
    delay:
        The seconds from the end of a request to its response.
    stall_at, stall:
        The time of the stall, in seconds after the first request, and its length.
    """

    def __init__(self, delay: float, stall_at: float = 0.0, stall: float = 0.0) -> None:
        self.port = int(os.environ.get("BENCH_PORT", "0"))
        self.delay = delay
        self.stall_at = stall_at
        self.stall = stall

    async def serve(self) -> None:
        """Print the port and serve until the process ends."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", self.port, backlog=4096)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                if self.stall:
                    asyncio.get_running_loop().call_later(self.stall_at, time.sleep, self.stall)
                    self.stall = 0.0
                await asyncio.sleep(self.delay)
                writer.write(ANSWER)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


if __name__ == "__main__":
    asyncio.run(KnownServer(*(float(word) for word in sys.argv[1:])).serve())
