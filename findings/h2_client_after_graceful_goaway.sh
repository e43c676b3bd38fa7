#!/usr/bin/env bash
# h2 4.4.1 (HTTP/2 state machine of httpx, hypercorn and others), its client side.
#
# One would guess: a GOAWAY with the highest stream number (2^31 - 1) and NO_ERROR is a server's notice that it will close
# soon (RFC 9113, 6.8), and streams that are open go on: their answers may follow.
# What happens: after that GOAWAY the connection counts as closed, and the HEADERS that answer an open stream raise
# ProtocolError. The answer is lost, although the server sent it as the RFC allows.
# Why it matters: servers and proxies say goodbye like this when they drain (grpc-go, Envoy). A client built on h2 sees
# failures of a server that made none, and a proxy that drains behind it is blamed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check h2==4.4.1 hpack==4.2.0 hyperframe==6.1.0 2>/dev/null
cat >"$folder/see.py" <<'PY'
import h2.config
import h2.connection
import h2.exceptions

client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
client.initiate_connection()
server.initiate_connection()
ask = [(":method", "POST"), (":scheme", "http"), (":authority", "model"), (":path", "/infer")]
client.send_headers(1, ask, end_stream=True)
server.receive_data(client.data_to_send())
client.receive_data(server.data_to_send())

# The frame as bytes: length 8, type GOAWAY, stream 0, last stream 2^31 - 1, error NO_ERROR.
client.receive_data(bytes.fromhex("0000080700000000007fffffff00000000"))
print("GOAWAY with last stream 2^31 - 1 and NO_ERROR received; stream 1 is open")
server.send_headers(1, [(":status", "200")], end_stream=True)
try:
    client.receive_data(server.data_to_send())
    print("the answer to stream 1 was read")
except h2.exceptions.ProtocolError as error:
    print(f"the answer to stream 1: ProtocolError: {error}")
PY
seen=$("$folder/venv/bin/python" "$folder/see.py")
printf '%s\n' "$seen"
grep -q 'the answer to stream 1: ProtocolError' <<<"$seen" || { echo "h2 no longer does this" >&2; exit 1; }
