"""The baseline: the same endpoint in bare Falcon on the same server, with no queue, deadline or worker process."""

from __future__ import annotations

import falcon
import falcon.asgi


class Square:
    """``/square``, computed in the HTTP process itself."""

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Respond with the square of the input."""
        media = await req.get_media()
        resp.media = media["input"] ** 2


app = falcon.asgi.App()
app.add_route("/square", Square())
