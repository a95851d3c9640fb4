"""MLServer: ``python mlserver_app.py``, one worker process."""

from __future__ import annotations

import asyncio
import os
import socket

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Iris(MLModel):
    """``/v2/models/iris/infer``."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the place of the largest measure of each flower."""
        places = NumpyCodec.decode_input(payload.inputs[0]).argmax(axis=1)
        output = ResponseOutput(name="output", shape=list(places.shape), datatype="INT64", data=places.tolist())
        return InferenceResponse(model_name=self.name, outputs=[output])


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def settings() -> Settings:
    """Return the settings of the server; it cannot do without its gRPC port."""
    port = int(os.environ["BENCH_PORT"])
    return Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=free_port(),
        metrics_endpoint=None,
        debug=False,
        parallel_workers=1,
    )


async def main() -> None:
    """Serve the model."""
    # Its worker process finds the class by the name of the module, which is another one in the script itself.
    await MLServer(settings()).start([ModelSettings(name="iris", implementation="mlserver_app.Iris")])


if __name__ == "__main__":
    asyncio.run(main())
