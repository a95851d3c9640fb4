"""The messages of the protocol over gRPC, from ``open_inference.proto``; ``make proto`` writes its descriptor.

They are in a pool of their own: an app may well import a client of the protocol, whose messages have the same names in
protobuf's default pool, which would refuse them twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

DESCRIPTORS: Final = Path(__file__).with_name("open_inference.bin").read_bytes()
SERVICE: Final = "inference.GRPCInferenceService"

_pool = DescriptorPool()
for _file in FileDescriptorSet.FromString(DESCRIPTORS).file:
    _pool.Add(_file)


def _message(name: str) -> Any:
    return GetMessageClass(_pool.FindMessageTypeByName(f"inference.{name}"))


ModelInferRequest: Final = _message("ModelInferRequest")
ModelInferResponse: Final = _message("ModelInferResponse")
ModelMetadataRequest: Final = _message("ModelMetadataRequest")
ModelMetadataResponse: Final = _message("ModelMetadataResponse")
ModelReadyRequest: Final = _message("ModelReadyRequest")
ModelReadyResponse: Final = _message("ModelReadyResponse")
ModelStreamInferResponse: Final = _message("ModelStreamInferResponse")
ServerLiveRequest: Final = _message("ServerLiveRequest")
ServerLiveResponse: Final = _message("ServerLiveResponse")
ServerMetadataRequest: Final = _message("ServerMetadataRequest")
ServerMetadataResponse: Final = _message("ServerMetadataResponse")
ServerReadyRequest: Final = _message("ServerReadyRequest")
ServerReadyResponse: Final = _message("ServerReadyResponse")
