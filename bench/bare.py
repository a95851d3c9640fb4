"""The yardstick: the same answer from Falcon alone, on the same server: no queue, no deadline, no worker process."""

from __future__ import annotations

import falcon
import falcon.asgi


class Square:
    """What ``/square`` does, done in the HTTP process itself."""

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer the square."""
        media = await req.get_media()
        resp.media = media["input"] ** 2


app = falcon.asgi.App()
app.add_route("/square", Square())
