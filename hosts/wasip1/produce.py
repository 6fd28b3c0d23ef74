"""The machine as a WASI 0.1 module, in wasmtime: the module has no sockets, so this program passes the bytes. Sends numbers to
partition 0 of a topic: produce.py MODULE BOOTSTRAP TOPIC COUNT [RECORDS_PER_SECOND]. Needs the package wasmtime."""

import os
import selectors
import socket
import struct
import sys
import time

import wasmtime

OK, NOT_READY, BUFFER_FULL = 0, -1, -2
WAIT, CONNECT, DISCONNECT, TRANSMIT, _TOKEN, DELIVERED, NOT_DELIVERED = range(7)
CLOSED = 15
CAUSE_CLOSED, CAUSE_RESOLVE, CAUSE_CONNECT, _, CAUSE_IO, _ = range(6)
ROOM, PIECES = 65_536, 16
# milena_output and milena_record as they lie in 32-bit memory.
OUTPUT = struct.Struct("<QQqqQQQ IIIIII IIIIiIIiIII 4x")
RECORD = struct.Struct("<IIIIII IIqi 4x")


class Host:
    def __init__(self, module, options):
        engine = wasmtime.Engine()
        self.store = wasmtime.Store(engine)
        wasi = wasmtime.WasiConfig()
        wasi.inherit_stderr()
        self.store.set_wasi(wasi)
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        exports = linker.instantiate(self.store, wasmtime.Module.from_file(engine, module)).exports(self.store)
        self.exports, self.memory = exports, exports["memory"]
        if "_initialize" in exports:
            exports["_initialize"](self.store)
        # One block of the module's memory for all that is handed over: words first, results behind them.
        self.words = exports["milena_alloc"](self.store, ROOM + 256)
        self.results = self.words + ROOM
        self.selector, self.streams = selectors.DefaultSelector(), {}
        self.delivered, self.failed, self.closed = 0, 0, False
        text = "".join(f"{name}={value}\n" for name, value in options.items()).encode()
        self.put(text + os.urandom(32))
        day, seed, error = time.time_ns() // 1_000_000, self.words + len(text), self.words + 4096
        result = self.call("new", self.words, len(text), now(), day, seed, self.results, error, 4096)
        if result != OK:
            raise ValueError(self.get(error, 4096).split(b"\0", 1)[0].decode())
        (self.handle,) = struct.unpack("<I", self.get(self.results, 4))

    def call(self, name, *arguments):
        return self.exports["milena_" + name](self.store, *arguments)

    def put(self, data):
        self.memory.write(self.store, data, self.words)

    def get(self, at, length):
        return bytes(self.memory.read(self.store, at, at + length))

    def send(self, topic, value):
        self.put(topic + value + bytes(8 - (len(topic) + len(value)) % 8))
        record = (self.words + len(topic) + len(value) + 7) & ~7
        at = self.words + len(topic)
        self.memory.write(self.store, RECORD.pack(self.words, len(topic), 0, 0, at, len(value), 0, 0, -1, 0), record)
        return self.call("send", self.handle, now(), record, 0)

    def drain(self):
        """Does all that the machine asks for. Returns until when it has nothing to do."""
        while True:
            self.call("poll", self.handle, self.results)
            (until, _, _, _, count, _, _, *texts, kind, conn, attempt, _, _, _, port, _, _, _, _) = OUTPUT.unpack(
                self.get(self.results, OUTPUT.size)
            )
            host, text = (self.get(*pair).decode() for pair in (texts[0:2], texts[2:4]))
            if text:
                print(text, file=sys.stderr)
            if kind == WAIT:
                return until
            if kind == CONNECT:
                self.connect(conn, host, port, attempt)
            elif kind == DISCONNECT:
                self.drop(conn)
            elif kind == TRANSMIT:
                self.write(conn)
            elif kind == DELIVERED:
                self.delivered += count
            elif kind == NOT_DELIVERED:
                self.failed += count
            self.closed |= kind == CLOSED

    def connect(self, conn, host, port, attempt):
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            return self.lost(conn, CAUSE_RESOLVE, error)
        family, kind, protocol, _, address = found[attempt % len(found)]
        stream = socket.socket(family, kind, protocol)
        stream.settimeout(10)
        try:
            stream.connect(address)
        except OSError as error:
            stream.close()
            return self.lost(conn, CAUSE_CONNECT, error)
        stream.setblocking(False)
        self.streams[conn] = stream
        self.selector.register(stream, selectors.EVENT_READ, conn)
        self.call("connected", self.handle, now(), conn)

    def drop(self, conn):
        if stream := self.streams.pop(conn, None):
            self.selector.unregister(stream)
            stream.close()

    def lost(self, conn, cause, error):
        self.drop(conn)
        words = str(error).encode()
        self.put(words)
        self.call("disconnected", self.handle, now(), conn, cause, self.words, len(words))

    def write(self, conn):
        stream = self.streams.get(conn)
        while stream:
            self.call("transmit", self.handle, now(), conn, self.words, PIECES, self.results)
            (count,) = struct.unpack("<I", self.get(self.results, 4))
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if count else 0)
            if self.selector.get_key(stream).events != wanted:
                self.selector.modify(stream, wanted, conn)
            if count == 0:
                return
            pieces = struct.iter_unpack("<II", self.get(self.words, 8 * count))
            try:
                written = stream.sendmsg([self.get(*piece) for piece in pieces])
            except BlockingIOError:
                return
            except OSError as error:
                return self.lost(conn, CAUSE_IO, error)
            self.call("written", self.handle, now(), conn, written)

    def read(self, conn):
        try:
            data = self.streams[conn].recv(ROOM)
        except BlockingIOError:
            return
        except OSError as error:
            return self.lost(conn, CAUSE_IO, error)
        if not data:
            return self.lost(conn, CAUSE_CLOSED, "")
        self.put(data)
        self.call("received", self.handle, now(), conn, self.words, len(data))

    def turn(self, due=1 << 63):
        """One turn: what there is to do, then sleep until bytes come, or a time."""
        wait = (min(self.drain(), due) - now()) / 1e9
        for key, events in self.selector.select(min(max(wait, 0), 1)):
            if events & selectors.EVENT_WRITE:
                self.write(key.data)
            if events & selectors.EVENT_READ and key.data in self.streams:
                self.read(key.data)
        self.call("timeout", self.handle, now())


def now():
    return time.monotonic_ns()


def main(module, servers, topic, count, rate="0"):
    host = Host(module, {"bootstrap.servers": servers, "client.id": "wasip1", "linger.ms": 5})
    start, count, rate, sent = now(), int(count), float(rate), 0
    while sent < count:
        due = start + int(sent * 1e9 / rate) if rate > 0 else 0
        result = host.send(topic.encode(), b"%08d" % sent) if now() >= due else NOT_READY
        if result == OK:
            sent += 1
        elif result in (NOT_READY, BUFFER_FULL):
            host.turn(due if due > now() else 1 << 63)
        else:
            host.call("last_error", host.handle, host.words, 4096, 0)
            raise RuntimeError(host.get(host.words, 4096).split(b"\0", 1)[0].decode())
    host.call("close", host.handle, now())
    while not host.closed:
        host.turn()
    host.call("free", host.handle)
    print(f"{count} records: {host.delivered} delivered, {host.failed} failed")
    return host.failed > 0


if len(sys.argv) not in (5, 6):
    sys.exit("usage: produce.py MODULE BOOTSTRAP TOPIC COUNT [RECORDS_PER_SECOND]")
sys.exit(main(*sys.argv[1:]))
