"""An HTTP service that calls a gRPC one and never tells of its failures: every answer is a 200."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import grpc

VERSION = os.environ["VERSION"]
BACKEND = urlsplit(os.environ["BACKEND_URL"]).netloc
PROXY = urlsplit(os.environ.get("http_proxy", "")).netloc
PROPAGATED = ("x-amzn-trace-id", "x-request-id")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = {"service": "frontend", "version": VERSION}
        if self.path.split("?")[0] != "/healthz":
            metadata = [(name, self.headers[name]) for name in PROPAGATED if self.headers.get(name)]
            try:
                found, _ = grpc.call(PROXY, BACKEND, "/demo.Backend/Get", metadata, 10)
                name = found.get("x-service-version", "").partition("=")[2]
                body["upstream"] = {"service": "backend", "version": name, "status": found.get("grpc-status")}
            except (OSError, EOFError) as error:
                body["upstream"] = {"error": str(error)}
        payload = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
Server((os.environ.get("POD_IP") or "0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
