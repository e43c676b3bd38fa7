#!/usr/bin/env bash
# tritonclient 2.73.0 (with numpy 2.4.6, python-rapidjson 1.25).
#
# One would guess: whether an output comes as JSON or as binary is a matter of the wire; `as_numpy` gives the same array.
# And what is not there, or does not fit its datatype, is an error.
# What happens:
# - BYTES: `bytes` from a binary answer, `str` from JSON, for the same output of the same model.
# - JSON `null` in FP32, as servers write that cannot say NaN in JSON: nan, silently. 1.7 in INT64: 1, silently. But a
#   number beyond INT8 raises OverflowError.
# - An output that the answer does not have: `None`, so that the error comes later, elsewhere.
# - NaN and infinity in a request with `binary_data=False`: written as `NaN` and `Infinity`, which are no JSON, so
#   a server with a strict reader refuses the request.
# Why it matters: a model server in front of which something asks for JSON (to look into it), or a second server that
# speaks no binary, changes the types that a client's code sees; and two arms that differ by a NaN look equal to it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    'tritonclient[http]==2.73.0' numpy==2.4.6 python-rapidjson==1.25 2>/dev/null
seen=$("$folder/venv/bin/python" - <<'PY'
import json

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferResult


def read(datatype: str, data: str) -> str:
    output = f'{{"name": "y", "datatype": "{datatype}", "shape": [1], "data": {data}}}'
    result = InferResult.from_response_body(f'{{"model_name": "m", "outputs": [{output}]}}'.encode())
    try:
        return repr(result.as_numpy("y")[0])
    except OverflowError as error:
        return type(error).__name__


def read_binary(text: bytes) -> str:
    payload = len(text).to_bytes(4, "little") + text
    head = json.dumps({"model_name": "m", "outputs": [
        {"name": "y", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(payload)}}]}).encode()
    result = InferResult.from_response_body(head + payload, header_length=len(head))
    assert result.as_numpy("other") is None
    return repr(result.as_numpy("y")[0])


print("BYTES, binary:", read_binary(b"cat"))
print("BYTES, JSON:", read("BYTES", '["cat"]'))
print("FP32, null:", read("FP32", "[null]"))
print("INT64, 1.7:", read("INT64", "[1.7]"))
print("INT8, 300:", read("INT8", "[300]"))
tensor = InferInput("x", [3], "FP32")
tensor.set_data_from_numpy(np.array([1.0, np.nan, np.inf], np.float32), binary_data=False)
body, _ = InferenceServerClient.generate_request_body([tensor])
print("written:", body[body.index(b'"data"') : body.index(b"]}")].decode())
PY
)
printf '%s\n' "$seen"
for told in "BYTES, binary: b'cat'" "BYTES, JSON: 'cat'" "FP32, null: np.float32(nan)" "INT64, 1.7: np.int64(1)" \
    "INT8, 300: OverflowError" 'written: "data":[1.0,NaN,Infinity'; do
    grep -qxF "$told" <<<"$seen" || { echo "no longer so: $told" >&2; exit 1; }
done
