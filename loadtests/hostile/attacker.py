"""The process that attacks: `strike` as a client, `serve` as a model server, `drive` for the requests that a hostile
model is to get, `hold` for slow clients. Each runs until an event is set and then says what it got through."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import multiprocessing as mp
import os
import selectors
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any

from loadtests.bench.machine import CORES
from loadtests.hostile.attacks import CLIENT, EVERY, GRPC, HEADERS, Attack, Slow, settings

HOST = "127.0.0.1"
PREFACE = 24
STREAM_OF = struct.Struct(">IxI")
"""Of a frame's head: its length and a byte more, and its stream."""
AT_ONCE = struct.pack("ii", 1, 0)
"""Close with RST (socket(7), `SO_LINGER`), so that no port stays taken."""
STAYS = 0.4
"""Seconds for which each request of `drive` is read."""
BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE


@dataclass
class Share:
    """What an attacker got through."""

    sent: int = 0
    read: int = 0
    connections: int = 0


class Peer:
    """One connection of the attacker's."""

    def __init__(self, sock: socket.socket, attack: Attack, share: Share) -> None:
        self.sock, self.attack, self.share = sock, attack, share
        sock.setblocking(False)
        if attack.side == CLIENT:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        share.connections += 1
        self.asked = attack.side == CLIENT
        self.heard = b""
        self.at, self.out = 0, memoryview(attack.first)
        self.began, self.moves = False, 0
        if not self.asked and attack.protocol == GRPC:
            sock.send(settings())

    @property
    def events(self) -> int:
        """What it waits for."""
        if not self.attack.reads and not self.attack.again:
            return selectors.EVENT_WRITE if self.attack.side == CLIENT and not self.began else 0
        if not self.asked:
            return selectors.EVENT_READ
        more = not self.began or self.at < len(self.out) or bool(self.attack.again)
        return (selectors.EVENT_READ if self.attack.reads else 0) | (selectors.EVENT_WRITE if more else 0)

    def readable(self) -> bool:
        """Whether it stays."""
        data = self.sock.recv(1 << 18)
        self.share.read += len(data)
        if not data:
            return False
        if not self.asked:
            self.heard += data
            self.asked = self.attack.protocol != GRPC or has_call(self.heard)
            return True
        return bool(self.attack.again)

    def writable(self) -> bool:
        """Whether it stays."""
        self.began = True
        if self.at == len(self.out):
            if not self.attack.again:
                return False
            self.at, self.out = 0, memoryview(moved(self.attack.again, self.moves))
            self.moves += self.attack.stride
        sent = self.sock.send(self.out[self.at : self.at + self.attack.piece])
        self.at += sent
        self.share.sent += sent
        more = self.at < len(self.out) or bool(self.attack.again)
        return more or self.attack.side == CLIENT  # who waits for an answer


def moved(frames: bytes, by: int) -> bytes:
    """The same frames on streams that are so much higher."""
    if not by:
        return frames
    out, at = bytearray(frames), 0
    while at < len(out):
        size, stream = STREAM_OF.unpack_from(out, at)
        if stream:
            struct.pack_into(">I", out, at + 5, stream + by)
        at += 9 + (size >> 8)
    return bytes(out)


def has_call(data: bytes) -> bool:
    """Whether a client's bytes hold the head of a call."""
    at = PREFACE
    while len(data) >= at + 9:
        if data[at + 3] == HEADERS:
            return True
        at += 9 + int.from_bytes(data[at : at + 3], "big")
    return False


def turn(peer: Peer, events: int) -> bool:
    """One turn of a connection: whether it stays."""
    try:
        if events & selectors.EVENT_READ and not peer.readable():
            return False
        return not (events & selectors.EVENT_WRITE and peer.events & selectors.EVENT_WRITE) or peer.writable()
    except BlockingIOError:
        return True
    except OSError:
        return False


def turns(
    selector: selectors.BaseSelector, peers: dict[socket.socket, Peer], until: Event, gone: Callable[[], None]
) -> None:
    """Serve the connections until told to stop; `gone` after one has ended."""
    while not until.is_set():
        for key, events in selector.select(0.05):
            peer = peers.get(key.fileobj)  # type: ignore[call-overload]
            if peer is None:
                key.data()
            elif not turn(peer, events):
                selector.unregister(peer.sock)
                del peers[peer.sock]
                peer.sock.close()
                gone()
            elif not peer.events:
                selector.unregister(peer.sock)  # held, and never heard of again
            elif peer.events != key.events:
                selector.modify(peer.sock, peer.events)
    for peer in peers.values():  # what the kernel still keeps has not come through
        peer.share.sent -= struct.unpack("i", fcntl.ioctl(peer.sock, termios.TIOCOUTQ, bytes(4)))[0]


def strike(port: int, attack: Attack, until: Event) -> Share:
    """Attack as a client."""
    share, peers = Share(), dict[socket.socket, Peer]()
    with selectors.DefaultSelector() as selector:

        def opened() -> None:
            sock = socket.socket()
            peers[sock] = peer = Peer(sock, attack, share)
            sock.connect_ex((HOST, port))
            selector.register(sock, peer.events)

        for _ in range(attack.connections):
            opened()
        turns(selector, peers, until, opened)
    return share


def serve(listener: socket.socket, attack: Attack, until: Event) -> Share:
    """Attack as a model server."""
    share, peers = Share(), dict[socket.socket, Peer]()
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:

        def accepted() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock, _ = listener.accept()
                    peers[sock] = peer = Peer(sock, attack, share)
                    if peer.events:
                        selector.register(sock, peer.events)

        selector.register(listener, selectors.EVENT_READ, accepted)
        turns(selector, peers, until, lambda: None)
    return share


def drive(port: int, request: bytes, every: float, until: Event) -> Share:
    """A request on a connection of its own every so many seconds, whatever becomes of it."""
    share, open_ = Share(), list[tuple[float, socket.socket]]()
    due = time.monotonic()
    while not until.is_set():
        now = time.monotonic()
        while open_ and now - open_[0][0] > STAYS:
            open_.pop(0)[1].close()
        for _, sock in open_:
            with contextlib.suppress(OSError):
                share.read += len(sock.recv(1 << 18, socket.MSG_DONTWAIT))
        if now >= due:
            due += every
            with contextlib.suppress(OSError):
                open_.append((now, socket.create_connection((HOST, port), timeout=1)))
                open_[-1][1].sendall(request)
                share.connections += 1
        time.sleep(max(0.0, min(0.01, due - time.monotonic())))
    return share


def hold(port: int, slow: Slow, count: int, until: Event) -> Share:
    """So many slow peers at once; one that is closed comes anew."""
    share, held = Share(), list[socket.socket]()
    due = time.monotonic() + EVERY
    while not until.is_set():
        while len(held) < count and not until.is_set():
            held.append(sock := socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with contextlib.suppress(OSError):
                sock.connect((HOST, port))
                sock.sendall(slow.first)
            share.connections += 1
        if until.wait(0.1) or time.monotonic() < due:
            continue
        due += EVERY
        for sock in list(held):
            try:
                share.sent += sock.send(slow.drip)
            except OSError:
                held.remove(sock)
                sock.close()
    return share


@contextmanager
def running(work: Callable[..., Share], *arguments: Any) -> Iterator[Callable[[], Share]]:
    """Run one of these in a process of its own, on the core that makes load, giving way to those who measure; what is
    yielded ends it and tells its share."""
    context = mp.get_context("fork")
    until, (ours, theirs) = context.Event(), context.Pipe()

    def body() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it outlives nobody
        os.sched_setaffinity(0, {CORES[-1]})
        os.nice(5)
        theirs.send(work(*arguments, until))

    process = context.Process(target=body, daemon=True)
    process.start()

    def over() -> Share:
        until.set()
        share: Share = ours.recv() if ours.poll(10) else Share()
        return share

    try:
        yield over
    finally:
        until.set()
        process.join(5)
        process.kill()
        process.join()
