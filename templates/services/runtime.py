"""What the demo services share: a threaded HTTP/1.1 server, one upstream, honest failures.

Settings come from the environment:

  PORT                where to listen (each service has its default)
  POD_IP              the address to listen on; 0.0.0.0 when it is not set
  VERSION             what this instance calls itself in its answers
  ERROR_RATE          0 to 1: the share of requests answered with 500
  LATENCY_MS          added to every request
  LATENCY_JITTER_MS   0 to this much more, at random
  FAIL_START          anything but "", 0, false or no: exit with status 1 instead of starting
  UPSTREAM_TIMEOUT_S  how long an upstream may take before it is answered with 504
  SHUTDOWN_GRACE_S    how long requests may go on after SIGTERM

Upstream calls honour http_proxy and no_proxy. GET /healthz tells of this process alone: a broken upstream must not
make its callers unhealthy too.
"""

import http.client
import json
import os
import random
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What ties the spans of one request together: X-Ray, W3C trace context, and the id that Envoy gives a request.
PROPAGATED = ("x-amzn-trace-id", "x-request-id", "traceparent", "tracestate")
LARGEST_BODY = 1 << 20


def setting(name, default, kind, lowest=None, highest=None):
    """One value of the environment, or a clear message and the end of the process."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = kind(text)
        if (lowest is not None and not value >= lowest) or (highest is not None and not value <= highest):
            raise ValueError
    except ValueError:
        bounds = "" if lowest is None else " from %s%s" % (lowest, "" if highest is None else " to %s" % highest)
        sys.exit("%s=%r is not a number%s" % (name, text, bounds))
    return value


class Service:
    """One service: its name, its settings and what it calls."""

    def __init__(self, name, port, upstream=None, answer=None):
        self.name = name
        self.port = setting("PORT", port, int, 1, 65535)
        self.address = os.environ.get("POD_IP") or "0.0.0.0"
        self.version = os.environ.get("VERSION") or "v1"
        self.error_rate = setting("ERROR_RATE", 0.0, float, 0, 1)
        self.latency = setting("LATENCY_MS", 0.0, float, 0) / 1000
        self.jitter = setting("LATENCY_JITTER_MS", 0.0, float, 0) / 1000
        self.timeout = setting("UPSTREAM_TIMEOUT_S", 10.0, float, 0.001)
        self.grace = setting("SHUTDOWN_GRACE_S", 15.0, float, 0)
        # (its name, its base URL) or None
        self.upstream = None
        if upstream:
            url = os.environ.get(upstream[1], "").rstrip("/")
            self.upstream = (upstream[0], url) if url else None
        self.answer = answer or (lambda: {})
        self.running = 0
        self.draining = False
        self.idle = threading.Condition()

    def respond(self, path, headers):
        """(status, body, extra headers) for one request."""
        if self.latency or self.jitter:
            time.sleep(self.latency + random.uniform(0, self.jitter))
        body = {"service": self.name, "version": self.version}
        chain = "%s=%s" % (self.name, self.version)
        if random.random() < self.error_rate:
            body["error"] = "an error was asked for with ERROR_RATE=%g" % self.error_rate
            return 500, body, {"x-service-version": chain}
        body.update(self.answer())
        if self.upstream is None:
            return 200, body, {"x-service-version": chain}
        status, answer, below = self.call(path, headers)
        if below:
            chain += "," + below
        if status == 200:
            body["upstream"] = answer
        else:
            body["error"] = "%s: %s" % (self.upstream[0], answer["error"])
            body["upstream"] = answer
        return status, body, {"x-service-version": chain}

    def call(self, path, headers):
        """(status for our caller, the upstream's answer or what went wrong, the versions below)."""
        name, base = self.upstream
        request = urllib.request.Request(base + path)
        for header in PROPAGATED:
            if headers.get(header):
                request.add_header(header, headers[header])
        failure = {"service": name, "url": base}
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                below = response.headers.get("x-service-version", "")
                return 200, json.loads(response.read(LARGEST_BODY)), below
        except urllib.error.HTTPError as error:
            with error:
                failure["status"] = error.code
                failure["error"] = "answered %d" % error.code
                text = error.read(LARGEST_BODY)
                below = error.headers.get("x-service-version", "")
            try:
                failure["answer"] = json.loads(text)
            except ValueError:
                failure["answer"] = text.decode("utf-8", "replace").strip()[:500]
            # Overload and time-outs keep their meaning on the way up; any other failure is a bad gateway.
            return (error.code if error.code in (503, 504) else 502), failure, below
        except (socket.timeout, TimeoutError):
            failure["error"] = "no answer within %g s" % self.timeout
            return 504, failure, ""
        except urllib.error.URLError as error:
            if isinstance(error.reason, (socket.timeout, TimeoutError)):
                failure["error"] = "no connection within %g s" % self.timeout
                return 504, failure, ""
            failure["error"] = str(error.reason)
            return 502, failure, ""
        except (OSError, ValueError, http.client.HTTPException) as error:
            failure["error"] = str(error) or type(error).__name__
            return 502, failure, ""

    def run(self):
        """Serves until SIGTERM or SIGINT, then lets the requests in progress finish."""
        if os.environ.get("FAIL_START", "").strip().lower() not in ("", "0", "false", "no"):
            sys.exit("%s %s: told not to start by FAIL_START" % (self.name, self.version))
        try:
            server = Server((self.address, self.port), handler(self))
        except OSError as error:
            sys.exit("cannot listen on %s:%d: %s" % (self.address, self.port, error))

        def stop(_signal, _frame):
            self.draining = True
            # shutdown() waits for serve_forever, which runs in this very thread.
            threading.Thread(target=server.shutdown, daemon=True).start()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        log({"event": "listening", "service": self.name, "version": self.version,
             "address": "%s:%d" % (self.address, self.port)})
        server.serve_forever(poll_interval=0.05)
        server.server_close()
        deadline = time.monotonic() + self.grace
        with self.idle:
            while self.running and time.monotonic() < deadline:
                self.idle.wait(deadline - time.monotonic())
        log({"event": "stopped", "service": self.name, "unfinished": self.running})


class Server(ThreadingHTTPServer):
    """Threads end with the process; what is in progress is waited for by Service.run."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        # A client that went away is not worth a traceback.
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout)):
            super().handle_error(request, client_address)


def log(fields):
    """One line of JSON on stdout; a single write, so that threads do not mix."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def handler(service):
    """The request handler of a service."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "%s/%s" % (service.name, service.version)
        sys_version = ""
        # An idle or slow connection is closed after this many seconds.
        timeout = 60
        # One segment per answer; without these a kept-alive connection waits for delayed acknowledgements.
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self):
            started = time.monotonic()
            with service.idle:
                service.running += 1
            try:
                self.skip_body()
                if self.path.split("?")[0] == "/healthz":
                    status = 503 if service.draining else 200
                    body, extra = {"status": "stopping" if service.draining else "ok"}, {}
                else:
                    if not self.headers.get("x-request-id"):
                        self.headers["x-request-id"] = str(uuid.uuid4())
                    status, body, extra = service.respond(self.path, self.headers)
                    extra["x-request-id"] = self.headers["x-request-id"]
                self.send(status, body, extra)
                log({"service": service.name, "version": service.version, "method": self.command,
                     "path": self.path, "status": status, "ms": round((time.monotonic() - started) * 1000, 1),
                     "request_id": self.headers.get("x-request-id"), "trace": self.headers.get("x-amzn-trace-id")})
            finally:
                with service.idle:
                    service.running -= 1
                    service.idle.notify_all()

        do_HEAD = do_GET

        def refuse(self):
            self.close_connection = True
            self.send(405, {"error": "%s is not allowed here" % self.command}, {"allow": "GET, HEAD"})

        do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = refuse

        def skip_body(self):
            """A GET with a body would otherwise leave the body to be read as the next request."""
            try:
                length = int(self.headers.get("content-length") or 0)
            except ValueError:
                length = -1
            if self.headers.get("transfer-encoding") or not 0 <= length <= LARGEST_BODY:
                self.close_connection = True
            else:
                self.rfile.read(length)

        def send(self, status, body, extra):
            payload = json.dumps(body).encode() + b"\n"
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(payload)))
            for name, value in extra.items():
                self.send_header(name, value)
            if service.draining:
                self.close_connection = True
            if self.close_connection:
                self.send_header("connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(payload)
            self.wfile.flush()

        def log_message(self, *_):
            pass

    return Handler
