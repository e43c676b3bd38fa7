"""A model server to try things with: the Open Inference Protocol (V2) on Python's standard library alone.

python config/quickstart/model.py 9001                     a fraud model: 1 when the amounts sum up to more than 100
python config/quickstart/model.py 9002 --wrong 0.1         gives another label for a tenth of the requests
python config/quickstart/model.py 9002 --seconds 0.05      takes 50 ms for each answer, not 5
python config/quickstart/model.py 9002 --fail 0.02         answers 2 % of the requests with 500
"""

import argparse
import json
import random
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Model(BaseHTTPRequestHandler):
    """Answers `POST /v2/models/NAME/infer`, and any GET with 200 for health checks."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet
    faults: argparse.Namespace

    def do_GET(self) -> None:
        self.answer(200, {"ready": True})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        time.sleep(self.faults.seconds)
        if random.random() < self.faults.fail:
            self.answer(500, {"error": "out of memory"})
            return
        (tensor,) = json.loads(body)["inputs"]
        columns = tensor["shape"][1]
        rows = [tensor["data"][at : at + columns] for at in range(0, len(tensor["data"]), columns)]
        labels = [int(sum(row) > 100) ^ (random.random() < self.faults.wrong) for row in rows]
        output = {"name": "predict", "datatype": "INT64", "shape": [len(labels)], "data": labels}
        self.answer(200, {"model_name": "fraud", "outputs": [output]})

    def answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a line per request would hide everything else."""


class Server(ThreadingHTTPServer):
    """A thread per connection, and room for all that connect at once: with the usual 5, a sixth waits a second."""

    request_queue_size = 128


def main() -> None:
    parser = argparse.ArgumentParser(description="A model server to try things with.")
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--wrong", type=float, default=0.0, metavar="SHARE", help="of answers with another label")
    parser.add_argument("--seconds", type=float, default=0.005, help="that an answer takes")
    parser.add_argument("--fail", type=float, default=0.0, metavar="SHARE", help="of requests answered with 500")
    Model.faults = parser.parse_args()
    Server((Model.faults.host, Model.faults.port), Model).serve_forever()


if __name__ == "__main__":
    main()
