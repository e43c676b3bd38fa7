"""A call whose record is kept, for traces or the access log."""

from __future__ import annotations

from proxy.worker.downstream.grpc_call import Call
from proxy.worker.request_log import LoggedRequest


class LoggedCall(LoggedRequest, Call):
    """A call that is logged. Interpreted: compiled classes have one base."""
