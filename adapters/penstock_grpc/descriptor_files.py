"""The descriptors of all services, for reflection: in a pool of their own, apart from what the app has imported."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from penstock.hooks import RpcService


def descriptor_pool(services: Iterable[RpcService]) -> DescriptorPool:
    """Return a pool with the descriptors of services, and of those for health and reflection."""
    files: dict[str, FileDescriptorProto] = {}
    for standard in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        copy = files[standard.name] = FileDescriptorProto()
        standard.CopyToProto(copy)
    for service in services:
        files.update((file.name, file) for file in FileDescriptorSet.FromString(service.descriptors).file)
    pool = DescriptorPool()
    for file in files.values():
        pool.Add(file)
    return pool
