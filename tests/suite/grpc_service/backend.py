"""A gRPC service: it names its version, serves gRPC's health checks, and fails as often as FAIL says with INTERNAL."""

import os
import random
import signal
import socket
import sys
import threading

import grpc

VERSION = os.environ["VERSION"]
FAIL = float(os.environ.get("FAIL", "0"))


def answer(headers, _message):
    if headers[":path"] == "/grpc.health.v1.Health/Check":
        return 0, b"\x08\x01", [], False
    named = [("x-service-version", "backend=" + VERSION)]
    if headers[":path"] != "/demo.Backend/Get":
        return 12, b"", named, True
    if random.random() < FAIL:
        return 13, b"", named, random.random() < 0.5
    return 0, VERSION.encode(), named, False


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = socket.create_server((os.environ.get("POD_IP") or "0.0.0.0", int(os.environ["PORT"])), backlog=128)
while True:
    stream, _ = server.accept()
    threading.Thread(target=grpc.serve, args=(stream, answer), daemon=True).start()
