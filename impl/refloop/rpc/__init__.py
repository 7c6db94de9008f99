"""Remote procedure calls in three forms: made by a thread, with a callback, and by a coroutine.

A small framed RPC, length-prefixed JSON over a byte stream, which exists to be compared with itself.
:class:`BlockingClient` suspends its thread until the reply is there; :class:`CallbackClient` returns at
once and calls back; :class:`Client` suspends its task and looks like the first. All three are the same
:class:`~refloop.rpc.conversation.Conversation`, which reads and writes nothing: a call is settled exactly
once, by reply, error, time-out, cancellation or the end of the transport, whoever waits for it. The example
:mod:`refloop.rpc.three_services` writes one handler in each form.
"""

from refloop.rpc.blocking import BlockingClient
from refloop.rpc.callback import CallbackClient, PendingCall
from refloop.rpc.calls import Ended, EndedError, Failed, Outcome, RemoteError, Replied, TimedOut, value_of
from refloop.rpc.coroutine import Client
from refloop.rpc.server import Procedure, answer_calls, serve_calls
from refloop.rpc.wire import MAX_FRAME, FrameError, Json

__all__ = [
    "MAX_FRAME",
    "BlockingClient",
    "CallbackClient",
    "Client",
    "Ended",
    "EndedError",
    "Failed",
    "FrameError",
    "Json",
    "Outcome",
    "PendingCall",
    "Procedure",
    "RemoteError",
    "Replied",
    "TimedOut",
    "answer_calls",
    "serve_calls",
    "value_of",
]
