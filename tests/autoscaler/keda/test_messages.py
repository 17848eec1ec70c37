"""The messages of KEDA's interface, beside its own proto."""

from __future__ import annotations

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from autoscaler.keda.messages import file_descriptor
from tests.support.keda_client import PROTO


def test_the_messages_are_those_of_the_proto(tmp_path):
    code = protoc.main(
        ["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={tmp_path / 'set'}", str(PROTO)]
    )
    assert code == 0
    compiled = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "set").read_bytes())
    assert list(compiled.file) == [file_descriptor()]
