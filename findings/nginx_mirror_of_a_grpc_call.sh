#!/usr/bin/env bash
# nginx 1.22.1 (Debian 12), `mirror` with `grpc_pass`; grpcio 1.85.1 as client and servers.
#
# One would guess: `mirror /copy;` with `location = /copy { internal; grpc_pass grpc://candidate; }` copies a gRPC call,
# as the manual's own lines do with `proxy_pass http://candidate$request_uri;`.
# What happens: the copy arrives as a call of the method `/copy`: grpc_pass sends the subrequest's own path, and the
# manual's remedy does not apply, since grpc_pass takes no path (`grpc://candidate$request_uri` makes the method's name
# part of the host, and no copy is sent at all; the client sees neither). `rewrite ^ $request_uri break;` mends it.
# Why it matters: a shadow model behind nginx answers every copy with UNIMPLEMENTED, or gets none, while clients see
# nothing of it; who measures what a mirror costs measures a mirror that does not work.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download -qq nginx >/dev/null 2>&1 && dpkg -x nginx_*.deb root)
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check grpcio==1.85.1 2>/dev/null
cat >"$folder/see.py" <<'PY'
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import grpc

folder = Path(sys.argv[1])
nginx = folder / "root/usr/sbin/nginx"
print(subprocess.run([nginx, "-v"], capture_output=True, text=True).stderr.strip())
copied = threading.Event()
methods: list[str] = []


class Model(grpc.GenericRpcHandler):
    def __init__(self, is_copy: bool) -> None:
        self.is_copy = is_copy

    def service(self, details):
        if self.is_copy:
            methods.append(details.method)
            copied.set()
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request)


ports, servers = [], []
for is_copy in (False, True):
    servers.append(grpc.server(futures.ThreadPoolExecutor(2)))
    servers[-1].add_generic_rpc_handlers((Model(is_copy),))
    ports.append(servers[-1].add_insecure_port("127.0.0.1:0"))
    servers[-1].start()
LINES = {
    "plain": "grpc_pass grpc://copy;",
    "with the request's path": "grpc_pass grpc://copy$request_uri;",
    "rewritten": "rewrite ^ $request_uri break; grpc_pass grpc://copy;",
}
for name, lines in LINES.items():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/errors; events {{ worker_connections 64; }}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n"
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"upstream live {{ server 127.0.0.1:{ports[0]}; }} upstream copy {{ server 127.0.0.1:{ports[1]}; }}\n"
        f"server {{ listen 127.0.0.1:{port} http2; location / {{ mirror /copy; grpc_pass grpc://live; }}\n"
        f"location = /copy {{ internal; {lines} }} }} }}\n"
    )
    process = subprocess.Popen([nginx, "-p", folder, "-c", config], stderr=subprocess.DEVNULL)
    methods.clear()
    copied.clear()
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        answer = channel.unary_unary("/a.B/C")(b"x", timeout=20, wait_for_ready=True)
    copied.wait(3)
    print(f"{name}: the client got {answer}, the copy was a call of {methods or 'nothing'}")
    process.terminate()
    process.wait()
for server in servers:
    server.stop(None).wait()
PY
seen=$("$folder/venv/bin/python" "$folder/see.py" "$folder")
printf '%s\n' "$seen"
grep -q "^plain: .* call of \['/copy'\]" <<<"$seen" || { echo "nginx no longer does this" >&2; exit 1; }
grep -q "^with the request's path: .* call of nothing" <<<"$seen" || { echo "nginx no longer does this" >&2; exit 1; }
grep -q "^rewritten: .* call of \['/a.B/C'\]" <<<"$seen"
