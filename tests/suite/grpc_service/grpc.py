"""Just enough of gRPC over HTTP/2 for a test: unary calls, on sockets, with the standard library alone.

HTTP/2 is RFC 9113, its headers RFC 7541; what is not needed between small messages and an Envoy is left out: sending
stays far below the flow-control windows, and no block of headers is as long as a frame.
"""

import socket
import struct
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32

# RFC 7541, appendix A.
STATIC = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
]

# RFC 7541, appendix B: how many bits each byte's code has. The code is canonical, so this is all of it.
LENGTHS = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5,
    6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22,
    23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22,
    22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26,
    26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27,
    27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27,
    27, 27, 27, 27, 26,
]


def huffman():
    """Byte by length and code."""
    codes, code, last = {}, 0, 5
    for length, byte in sorted((length, byte) for byte, length in enumerate(LENGTHS)):
        code <<= length - last
        codes[length, code] = byte
        code, last = code + 1, length
    return codes


CODES = huffman()


def unpacked(packed):
    """What a Huffman-coded text says; the ones at its end pad the last byte."""
    text, code, length = bytearray(), 0, 0
    for byte in packed:
        for bit in range(7, -1, -1):
            code, length = code << 1 | byte >> bit & 1, length + 1
            if (length, code) in CODES:
                text.append(CODES[length, code])
                code, length = 0, 0
    return bytes(text)


class Decoder:
    """Blocks of headers of one connection."""

    def __init__(self):
        self.table = []

    def number(self, block, at, bits):
        value, most = block[at] & (1 << bits) - 1, (1 << bits) - 1
        at += 1
        if value == most:
            shift = 0
            while True:
                byte = block[at]
                at, value, shift = at + 1, value + ((byte & 127) << shift), shift + 7
                if byte < 128:
                    break
        return value, at

    def text(self, block, at):
        packed = block[at] & 128
        length, at = self.number(block, at, 7)
        text = block[at:at + length]
        return (unpacked(text) if packed else text).decode(), at + length

    def entry(self, index):
        return STATIC[index - 1] if index <= len(STATIC) else self.table[index - len(STATIC) - 1]

    def headers(self, block):
        found, at = {}, 0
        while at < len(block):
            first = block[at]
            if first & 128:
                index, at = self.number(block, at, 7)
                name, value = self.entry(index)
            elif first & 224 == 32:
                _, at = self.number(block, at, 5)
                continue
            else:
                kept = first & 64
                index, at = self.number(block, at, 6 if kept else 4)
                if index:
                    name = self.entry(index)[0]
                else:
                    name, at = self.text(block, at)
                value, at = self.text(block, at)
                if kept:
                    self.table.insert(0, (name, value))
                    while sum(len(n) + len(v) + 32 for n, v in self.table) > 4096:
                        self.table.pop()
            found[name] = value
        return found


def block(headers):
    """Headers as literals."""
    out = b""
    for name, value in headers:
        name, value = name.encode(), str(value).encode()
        for text in (name, value):
            assert len(text) < 127, text
        out += b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    return out


def framed(message):
    return b"\0" + struct.pack(">I", len(message)) + message


class Connection:
    """One side of an HTTP/2 connection."""

    def __init__(self, stream):
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream, self.decoder, self.lock = stream, Decoder(), threading.Lock()

    def exactly(self, count):
        read = b""
        while len(read) < count:
            more = self.stream.recv(count - len(read))
            if not more:
                raise EOFError
            read += more
        return read

    def send(self, *frames):
        out = b"".join(
            struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
            for kind, flags, stream, payload in frames)
        with self.lock:
            self.stream.sendall(out)

    def events(self):
        """(stream, headers or data, whether that was all) until the connection ends; a reset stream has None."""
        while True:
            head = self.exactly(9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = int.from_bytes(head[5:], "big") & 0x7fffffff
            payload = self.exactly(length)
            if kind in (DATA, HEADERS):
                if kind == DATA and length:
                    self.send((WINDOW_UPDATE, 0, 0, struct.pack(">I", length)))
                if flags & PADDED:
                    payload = payload[1:len(payload) - payload[0]]
                if kind == HEADERS:
                    assert flags & END_HEADERS
                    payload = self.decoder.headers(payload[5:] if flags & PRIORITY else payload)
                yield stream, payload, bool(flags & END_STREAM)
            elif kind == RESET:
                yield stream, None, True
            elif kind == SETTINGS and not flags & ACK:
                self.send((SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self.send((PING, ACK, 0, payload))
            elif kind == GOAWAY and int.from_bytes(payload[4:8], "big"):
                raise OSError("GOAWAY %s" % payload)


def serve(stream, answer):
    """Answers every call on a connection: `answer(headers, message)` gives status, message, further headers and whether
    a failure's status comes with the headers (as gRPC has it, "trailers only") or after them."""
    connection, calls = Connection(stream), {}
    try:
        assert connection.exactly(len(PREFACE)) == PREFACE
        connection.send((SETTINGS, 0, 0, b""))
        for number, what, ended in connection.events():
            if what is None:
                calls.pop(number, None)
                continue
            call = calls.setdefault(number, [{}, b""])
            if isinstance(what, dict):
                call[0].update(what)
            else:
                call[1] += what
            if ended:
                headers, body = calls.pop(number)
                threading.Thread(target=reply, args=(connection, number, answer, headers, body[5:]), daemon=True).start()
    except (EOFError, OSError):
        pass
    finally:
        stream.close()


def reply(connection, number, answer, headers, message):
    status, message, more, at_once = answer(headers, message)
    first = [(":status", 200), ("content-type", "application/grpc")] + more
    end = [("grpc-status", status)]
    try:
        if at_once:
            connection.send((HEADERS, END_HEADERS | END_STREAM, number, block(first + end)))
        else:
            connection.send(
                (HEADERS, END_HEADERS, number, block(first)),
                (DATA, 0, number, framed(message) if status == 0 else b""),
                (HEADERS, END_HEADERS | END_STREAM, number, block(end)))
    except OSError:
        pass


def call(proxy, authority, method, headers, timeout):
    """Calls a method with an empty message, through a proxy as gRPC's clients do: the answer's headers and trailers
    together, and its message."""
    host, _, port = (proxy or authority).rpartition(":")
    with socket.create_connection((host, int(port)), timeout) as stream:
        if proxy:
            stream.sendall(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % ((authority.encode(),) * 2))
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                more = stream.recv(1)
                if not more:
                    raise EOFError
                answer += more
            if b" 200 " not in answer.split(b"\r\n")[0]:
                raise OSError(answer.decode())
        connection, found, body = Connection(stream), {}, b""
        stream.sendall(PREFACE)
        first = [(":method", "POST"), (":scheme", "http"), (":authority", authority), (":path", method),
                 ("content-type", "application/grpc"), ("te", "trailers")] + headers
        connection.send(
            (SETTINGS, 0, 0, b""),
            (HEADERS, END_HEADERS, 1, block(first)),
            (DATA, END_STREAM, 1, framed(b"")))
        for _, what, ended in connection.events():
            if what is None:
                raise OSError("the call was reset")
            if isinstance(what, dict):
                found.update(what)
            else:
                body += what
            if ended:
                return found, body[5:]
