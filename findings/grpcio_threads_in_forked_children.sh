#!/usr/bin/env bash
# grpcio 1.85.1.
#
# One would guess, from gRPC's own page on forks (doc/fork_support.md): handlers of forks are there for whoever sets two
# variables, GRPC_ENABLE_FORK_SUPPORT and GRPC_POLL_STRATEGY; nothing is done in the children of a program that sets none.
# What happens: without either, every child that is forked while a channel is there begins with threads of gRPC's own,
# though it never calls gRPC, and to fork takes several times as long. With GRPC_ENABLE_FORK_SUPPORT=0 it has one thread.
# Why it matters: what Python forks and does not spawn (`subprocess` with `user=`, `preexec_fn=`; `multiprocessing`'s
# "fork", pre-forking servers) runs beside these threads until it is another program; whoever closes descriptors in
# between takes theirs away. A service that has a gRPC client and starts programs under another user wants it off.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check grpcio==1.85.1 2>/dev/null
cat >"$folder/see.py" <<'PY'
import os
import time
from concurrent import futures

import grpc


def threads_of_a_child():
    """How many threads a child has that only counts them."""
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        time.sleep(0.1)
        os.write(tells, str(len(os.listdir("/proc/self/task"))).encode())
        os._exit(0)
    os.close(tells)
    found = int(os.read(told, 9))
    os.close(told)
    os.waitpid(pid, 0)
    return found


print(f"before there is a channel: {threads_of_a_child()} thread in a child")
server = grpc.server(futures.ThreadPoolExecutor(1))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
channel = grpc.insecure_channel(f"127.0.0.1:{port}")
grpc.channel_ready_future(channel).result(10)
time.sleep(0.5)  # nobody calls gRPC any more
several = threads_of_a_child() > 1
print(f"with a channel, idle: {'several threads' if several else '1 thread'} in a child")
os._exit(0)
PY
see() { env -u GRPC_ENABLE_FORK_SUPPORT -u GRPC_POLL_STRATEGY "$@" "$folder/venv/bin/python" "$folder/see.py" 2>/dev/null; }
{
    echo "no variable is set:" && see
    echo "GRPC_ENABLE_FORK_SUPPORT=0:" && see GRPC_ENABLE_FORK_SUPPORT=0
} >"$folder/seen"
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
no variable is set:
before there is a channel: 1 thread in a child
with a channel, idle: several threads in a child
GRPC_ENABLE_FORK_SUPPORT=0:
before there is a channel: 1 thread in a child
with a channel, idle: 1 thread in a child
SEEN
