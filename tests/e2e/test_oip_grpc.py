"""The Open Inference Protocol over gRPC, with Triton's own client."""

from __future__ import annotations

import queue
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc import StatusCode
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.e2e.grpc_calls import PATIENCE, GrpcServed, refusal
from tests.serving import HOST, ROOT

pytestmark = pytest.mark.e2e

TARGET = ROOT / "tests" / "e2e" / "apps" / "oip_grpc_app.py"
SEED = 7
MESSAGES = 300
# With typed contents: all but the 16-bit floats.
TYPED: dict[str, Any] = {
    "BOOL": ("bool_contents", [True, False]), "INT8": ("int_contents", [-128, 127]),
    "INT16": ("int_contents", [-32768, 3]), "INT32": ("int_contents", [-(2**31), 4]),
    "INT64": ("int64_contents", [-(2**63), 5]), "UINT8": ("uint_contents", [0, 255]),
    "UINT16": ("uint_contents", [0, 65535]), "UINT32": ("uint_contents", [0, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 2**64 - 1]), "FP32": ("fp32_contents", [0.5, -2.0]),
    "FP64": ("fp64_contents", [0.1, 1e300]), "BYTES": ("bytes_contents", [b"", b"\0\xff"]),
}  # fmt: skip


@pytest.fixture(scope="module", params=["1", "2"], ids=["one-process", "two-processes"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServed]:
    marks = tmp_path_factory.mktemp("marks")
    environment = {"PYTHONPATH": str(ROOT)}
    options = ("--http-workers", request.param)
    with GrpcServed(*options, marks=marks, target=TARGET, environment=environment) as served:
        yield served
        assert not served.events("internal-error")


@pytest.fixture
def client(served: GrpcServed) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"{HOST}:{served.grpc_port}") as client:
        yield client


@pytest.fixture
def stub(served: GrpcServed) -> Iterator[Any]:
    with served.channel() as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def given(name: str, array: Any, datatype: str) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def test_the_client_finds_the_server_and_its_models(client: triton.InferenceServerClient) -> None:
    """It is alive and ready, and says what it serves."""
    assert client.is_server_live()
    assert client.is_server_ready()
    server = client.get_server_metadata()
    assert (server.name, "binary_tensor_data" in server.extensions) == ("penstock", True)
    assert client.is_model_ready("double")
    assert client.is_model_ready("org/a pair", "3")
    model = client.get_model_metadata("double")
    assert (model.name, list(model.versions)) == ("double", ["1"])
    assert [(one.name, one.datatype, list(one.shape)) for one in model.inputs] == [("x", "FP32", [-1, 2])]
    assert [one.name for one in model.outputs] == ["twice"]


def test_a_model_infers(client: triton.InferenceServerClient) -> None:
    """Arrays go there and come back, with the id, the name and the version."""
    x = np.array([[1, 2], [3, 4]], dtype=np.float32)
    found = client.infer("double", [given("x", x, "FP32")], request_id="r-7", parameters={"factor": 3.0})
    assert found.as_numpy("twice").tolist() == [[3, 6], [9, 12]]
    answer = found.get_response()
    assert (answer.id, answer.model_name, answer.model_version) == ("r-7", "double", "1")


def test_a_model_has_several_tensors_and_bytes(client: triton.InferenceServerClient) -> None:
    """Optional ones may be left out, and only the outputs that are asked for come."""
    rows, names = np.ones((2, 2), dtype=np.float32), np.array([b"a", b"\0"], dtype=object)
    inputs = [given("rows", rows, "FP32"), given("names", names, "BYTES")]
    found = client.infer("org/a pair", inputs, model_version="3")
    assert found.as_numpy("names").tolist() == [b"a", b"\0"]
    assert found.as_numpy("rows").tolist() == [[1, 1], [1, 1]]
    wish = [triton.InferRequestedOutput("rows")]
    one = client.infer("org/a pair", inputs, outputs=wish)
    assert [output.name for output in one.get_response().outputs] == ["rows"]


def test_large_tensors_pass(client: triton.InferenceServerClient) -> None:
    """Both ways, though they are larger than gRPC's own limit of 4 MiB."""
    x = np.arange(2_000_000, dtype=np.float32).reshape(-1, 2)
    assert np.array_equal(client.infer("double", [given("x", x, "FP32")]).as_numpy("twice"), x * 2)


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_contents_are_answered_with_typed_contents(stub: Any, datatype: str) -> None:
    """Every value of every datatype comes back as it went."""
    field, values = TYPED[datatype]
    name = datatype.lower()
    request = service_pb2.ModelInferRequest(model_name=name)
    [described] = stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=name), timeout=PATIENCE).inputs
    tensor = request.inputs.add(name=described.name, datatype=datatype, shape=[1, 2])
    getattr(tensor.contents, field).extend(values)
    answer = stub.ModelInfer(request, timeout=PATIENCE)
    assert list(getattr(answer.outputs[0].contents, field)) == values
    assert not answer.raw_output_contents


def test_a_stream_of_requests_is_answered_in_order(client: triton.InferenceServerClient) -> None:
    """Errors come as messages, with the id, and the next request is answered."""
    found: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: found.put((result, error)))
    x = np.ones((1, 2), dtype=np.float32)
    client.async_stream_infer("double", [given("x", x, "FP32")], request_id="one")
    client.async_stream_infer("nope", [given("x", x, "FP32")], request_id="two")
    client.async_stream_infer("double", [given("x", x * 2, "FP32")], request_id="three")
    first, second, third = (found.get(timeout=PATIENCE) for _ in range(3))
    client.stop_stream()
    assert first[0].as_numpy("twice").tolist() == [[2, 2]]
    assert "nope" in second[1].message()
    assert third[0].get_response().id == "three"


@pytest.mark.timed
def test_the_clients_deadline_holds(client: triton.InferenceServerClient) -> None:
    """The deadline of the call, and the parameter of the protocol, in microseconds."""
    x = np.array([3.0], dtype=np.float32)
    with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
        client.infer("slow", [given("x", x, "FP32")], client_timeout=0.3)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("slow", [given("x", x, "FP32")], timeout=300_000)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def bad(**more: Any) -> Any:
    """Return a request with something wrong in it."""
    fields: dict[str, Any] = {
        "model_name": "double",
        "name": "x",
        "datatype": "FP32",
        "shape": [1, 2],
        "raw": [b"\0" * 8],
    }
    fields.update(more)
    request = service_pb2.ModelInferRequest(model_name=fields["model_name"], raw_input_contents=fields["raw"])
    tensor = request.inputs.add(name=fields["name"], datatype=fields["datatype"], shape=fields["shape"])
    for field, values in fields.get("contents", {}).items():
        getattr(tensor.contents, field).extend(values)
    for name in fields.get("outputs", ()):
        request.outputs.add(name=name)
    return request


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"model_name": "nope"}, StatusCode.NOT_FOUND),
        ({"model_name": ""}, StatusCode.NOT_FOUND),
        ({"name": "y"}, StatusCode.INVALID_ARGUMENT),
        ({"datatype": "FP64"}, StatusCode.INVALID_ARGUMENT),
        ({"datatype": "NOPE", "raw": [], "contents": {"fp32_contents": [1.0]}}, StatusCode.INVALID_ARGUMENT),
        ({"shape": [2, 2]}, StatusCode.INVALID_ARGUMENT),
        ({"shape": [-1, 2]}, StatusCode.INVALID_ARGUMENT),
        ({"shape": [2**62, 2]}, StatusCode.INVALID_ARGUMENT),
        ({"raw": [b"\0" * 8, b""]}, StatusCode.INVALID_ARGUMENT),
        ({"raw": [b"\0" * 8], "contents": {"fp32_contents": [1.0, 2.0]}}, StatusCode.INVALID_ARGUMENT),
        ({"raw": [], "contents": {"fp32_contents": [1.0]}}, StatusCode.INVALID_ARGUMENT),
        ({"raw": [], "contents": {"fp64_contents": [1.0, 2.0]}}, StatusCode.INVALID_ARGUMENT),
        ({"raw": []}, StatusCode.INVALID_ARGUMENT),
        ({"outputs": ["nope"]}, StatusCode.INVALID_ARGUMENT),
        (
            {"model_name": "int8", "datatype": "INT8", "shape": [1, 1], "raw": [], "contents": {"int_contents": [300]}},
            StatusCode.INVALID_ARGUMENT,
        ),
        ({"model_name": "broken", "shape": [1], "raw": [b"\0" * 4]}, StatusCode.INTERNAL),
    ],
)  # fmt: skip
def test_bad_requests_have_their_status(stub: Any, wrong: dict[str, Any], code: StatusCode) -> None:
    """Nothing of it fails in the server, and a model's exception is hidden."""
    found = refusal(stub.ModelInfer, bad(**wrong))
    assert found.code is code
    assert "secret" not in found.message


def test_unknown_models_are_not_found(stub: Any) -> None:
    """By questions as well; and they are not ready, which is an answer."""
    assert refusal(stub.ModelMetadata, service_pb2.ModelMetadataRequest(name="nope")).code is StatusCode.NOT_FOUND
    assert not stub.ModelReady(service_pb2.ModelReadyRequest(name="nope")).ready


def test_messages_broken_at_random_are_refused(served: GrpcServed, stub: Any) -> None:
    """Whatever they say, it is the caller's mistake."""
    dice = random.Random(SEED)
    good = bad().SerializeToString()
    expected = {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}
    with served.channel() as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for number in range(MESSAGES):
            message = bytearray(good)
            for _ in range(dice.randint(1, 3)):
                place = dice.randrange(len(message))
                if dice.random() < 0.5:
                    message[place] = dice.randrange(256)
                else:
                    message[place : place + dice.randint(0, 4)] = dice.randbytes(dice.randint(0, 4))
            code = call.future(bytes(message), timeout=PATIENCE).code()
            assert code in expected, f"seed {SEED}, message {number}: {code} for {bytes(message)!r}"
    assert stub.ModelInfer(bad(), timeout=PATIENCE).model_name == "double"


def test_reflection_describes_the_service(served: GrpcServed) -> None:
    """A client that knows nothing of the protocol finds it."""
    with served.channel() as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "inference.GRPCInferenceService" in database.get_services()
        found = database.FindFileContainingSymbol("inference.GRPCInferenceService")
        assert "ModelInfer" in [method.name for method in found.service[0].method]
