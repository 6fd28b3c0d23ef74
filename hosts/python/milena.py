"""An Apache Kafka producer for asyncio: Java's semantics and option names, by the machine in libmilena_capi.so, whose functions
capi/include/milena.h describes. Sockets, TLS, names, timers and futures are those of asyncio.

    async with Producer({"bootstrap.servers": "localhost:9092"}) as producer:
        delivered = await producer.send("orders", "3 apples", key="customer-7")
        print(delivered.partition, delivered.offset)
"""

import asyncio
import collections
import ctypes
import os
import socket
import ssl
import struct
import time

_OK, _NOT_READY, _BUFFER_FULL = 0, -1, -2
_REFUSALS = (
    "OK TOPIC_UNKNOWN BUFFER_FULL RECORD_TOO_LARGE UNKNOWN_PARTITION INVALID_TIMESTAMP TOPIC_REFUSED ACCESS_DENIED CLOSED "
    "FATAL CONFIG INVALID_HANDLE NULL INVALID_ARGUMENT BUSY TOO_MANY NO_MEMORY BUG"
).split()
(
    _WAIT,
    _CONNECT,
    _DISCONNECT,
    _TRANSMIT,
    _TOKEN,
    _DELIVERED,
    _NOT_DELIVERED,
    _FLUSHED,
    _TOPIC_READY,
    _TOPIC_FAILED,
    _WRITABLE,
    _DENIED,
    _FATAL,
    _CONNECTION_FAILED,
    _THROTTLED,
    _CLOSED,
    _OTHER,
) = range(17)
_CAUSE_CLOSED, _CAUSE_RESOLVE, _CAUSE_CONNECT, _CAUSE_TLS, _CAUSE_IO, _CAUSE_LOCAL = range(6)
_HEAD = struct.Struct("<IiqiiI")
_HEADER = struct.Struct("<ii")
_CHUNK, _RUNS, _PIECES, _FOREVER, _MOST_HELD = 65_536, 512, 64, (1 << 64) - 1, 1 << 20


class _Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("len", ctypes.c_size_t)]

    def __bytes__(self):
        return ctypes.string_at(self.data, self.len) if self.len else b""

    def __str__(self):
        return bytes(self).decode()


class _Run(ctypes.Structure):
    _fields_ = [
        ("batch", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("index", "count", "topic")),
        ("partition", ctypes.c_int32),
    ]


class _Taken(ctypes.Structure):
    _fields_ = [("timestamp", ctypes.c_int64), *((name, ctypes.c_size_t) for name in ("bytes", "records", "runs"))]


class _Output(ctypes.Structure):
    _fields_ = [
        ("time", ctypes.c_uint64),
        ("batch", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("log_append_time", ctypes.c_int64),
        ("count", ctypes.c_uint64),
        ("id", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("host", _Bytes),
        ("text", _Bytes),
        ("name", _Bytes),
        ("kind", ctypes.c_uint32),
        ("conn", ctypes.c_uint32),
        ("attempt", ctypes.c_uint32),
        ("topic", ctypes.c_uint32),
        ("partition", ctypes.c_int32),
        ("index", ctypes.c_uint32),
        ("port", ctypes.c_uint32),
        ("code", ctypes.c_int32),
        ("attempts", ctypes.c_uint32),
        ("possibly_written", ctypes.c_uint32),
        ("retriable", ctypes.c_uint32),
    ]


def _library():
    path = os.environ.get("MILENA_LIBRARY") or os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "libmilena_capi.so"
    )
    try:
        it = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(
            f"cargo build -p milena-capi --release, and name libmilena_capi.so by MILENA_LIBRARY: {error}"
        ) from None
    handle, u64, size, text, to, conn = (
        ctypes.c_uint32,
        ctypes.c_uint64,
        ctypes.c_size_t,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_uint32,
    )
    for name, types in {
        "new": (text, size, u64, ctypes.c_int64, text, to, to, size),
        "free": (handle,),
        "send_many": (handle, u64, text, size, to, size, to, size, to),
        "last_error": (handle, to, size, to),
        "why": (handle, u64, text, size, to, size, to),
        "partition_count": (handle, text, size, to),
        "topic_name": (handle, ctypes.c_uint32, to),
        "flush": (handle, u64, to),
        "close": (handle, u64),
        "abort": (handle, u64),
        "connected": (handle, u64, conn),
        "received": (handle, u64, conn, text, size),
        "disconnected": (handle, u64, conn, ctypes.c_uint32, text, size),
        "timeout": (handle, u64),
        "poll": (handle, to),
        "time_of_day": (handle, u64, ctypes.c_int64),
        "token": (handle, u64, text, size, u64),
        "no_token": (handle, u64, text, size),
        "transmit": (handle, u64, conn, to, size, to),
        "written": (handle, u64, conn, size),
    }.items():
        getattr(it, f"milena_{name}").argtypes = types
    if it.milena_version() != 1:
        raise ImportError("libmilena_capi.so is of another version")
    return it


_call = _library()
_now = time.monotonic_ns
Delivered = collections.namedtuple("Delivered", "topic partition offset timestamp")


class KafkaError(Exception):
    """`name` is Kafka's name for what went wrong or a word in its style, `code` Kafka's number or 0; `retriable`: sent again it may get
    through; `possibly_written`: the record may be in the log nevertheless."""

    def __init__(self, name, words, code=0, retriable=False, possibly_written=False):
        super().__init__(f"{name}: {words}")
        self.name, self.code, self.retriable, self.possibly_written = name, code, retriable, possibly_written


class ConfigError(KafkaError):
    """The options are wrong."""


class SendError(KafkaError):
    """A record was not taken: it is in no log."""


class DeliveryError(KafkaError):
    """A record was taken and not delivered."""


class _Lane:
    """Packed records of one topic on their way into the machine, and who waits for them: a future, its timestamp, when it came."""

    def __init__(self, topic, partition=None):
        self.topic, self.partition, self.name = topic, partition, topic.encode()
        self.packed, self.open, self.came, self.unknown = bytearray(), collections.deque(), 0, partition is not None

    def skip(self):
        (size,) = struct.unpack_from("<I", self.packed)
        first = self.packed[:size]
        del self.packed[:size]
        return first, self.open.popleft()


class _Stream(asyncio.Protocol):
    def __init__(self, producer, conn):
        self.producer, self.conn, self.transport, self.task, self.may_write = producer, conn, None, None, False

    def connection_made(self, transport):
        self.transport, self.may_write = transport, True
        if self.producer._streams.get(self.conn) is self:
            self.producer._input(_call.milena_connected, self.conn)
            self.producer._transmit(self)
        else:
            transport.abort()

    def data_received(self, data):
        if self.producer._streams.get(self.conn) is self:
            self.producer._input(_call.milena_received, self.conn, data, len(data))

    def pause_writing(self):
        self.may_write = False

    def resume_writing(self):
        self.may_write = True
        self.producer._transmit(self)
        self.producer._drain()

    def connection_lost(self, error):
        self.producer._lost(self, _CAUSE_IO if error else _CAUSE_CLOSED, str(error or ""))


class Producer:
    """Sends records. `options` are those of the Java client; `tls` is an ssl.SSLContext in place of one made of `ssl.*`; `token` is an
    async function that returns a token for OAUTHBEARER and its lifetime in seconds or None; `log` gets lines about connections.
    """

    def __init__(self, options, *, tls=None, token=None, log=None):
        self._loop, self._token_of, self._log = asyncio.get_running_loop(), token, log or (lambda text: None)
        options = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in options.items()
            if value is not None
        }
        escape = str.maketrans(
            {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f", **{char: "\\" + char for char in "\\ :=#!"}}
        )
        text = "".join(
            f"{name.translate(escape)}={value.translate(escape)}\n" for name, value in options.items()
        ).encode()
        handle, words = ctypes.c_uint32(), ctypes.create_string_buffer(4096)
        result = _call.milena_new(
            text, len(text), _now(), time.time_ns() // 1_000_000, os.urandom(32), ctypes.byref(handle), words, 4096
        )
        if result != _OK:
            raise ConfigError("INVALID_CONFIG", words.value.decode(errors="replace"))
        # The machine has looked at the options: these are what they should be.
        self._no_acks, self._max_block = options.get("acks") == "0", float(options.get("max.block.ms", 60_000)) / 1000
        self._handle, self._output, self._taken, self._runs = handle.value, _Output(), _Taken(), (_Run * _RUNS)()
        self._pieces, self._count, self._number = (_Bytes * _PIECES)(), ctypes.c_size_t(), ctypes.c_uint64()
        self._lanes, self._fresh, self._stuck, self._apart, self._batches, self._streams = {}, {}, {}, {}, {}, {}
        self._marks, self._flushes, self._timer, self._block_timer, self._pushing, self._full = (
            [],
            {},
            None,
            None,
            False,
            False,
        )
        self._held, self._room, self._closing, self._told, self._at = (
            0,
            None,
            None,
            self._loop.time(),
            self._loop.time(),
        )
        try:
            self._tls = (tls or _tls(options)) if options.get("security.protocol", "").upper().endswith("SSL") else None
        except (OSError, ValueError) as error:
            _call.milena_free(self._handle)
            raise ConfigError("INVALID_CONFIG", f"ssl.*: {error}") from None

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    def send(self, topic, value=None, *, key=None, headers=(), partition=None, timestamp=None):
        """Copies a record, and returns a future that gets a Delivered when it is in the log. Strings are sent as UTF-8."""
        future = self._loop.create_future()
        if self._closing is not None:
            future.set_exception(SendError("CLOSED", "the producer is closed"))
            return future
        if not self._pushing:
            self._at = self._loop.time()  # looked at once for all that is sent together
        lane = self._lanes.get(topic)
        if lane is None:
            if len(self._lanes) >= 1000:
                self._lanes = {name: lane for name, lane in self._lanes.items() if lane.open}
            lane = self._lanes[topic] = _Lane(topic)
        if (partition is not None and not 0 <= partition < 1 << 31) or (
            timestamp is not None and not 0 <= timestamp < 1 << 63
        ):
            raise ValueError("no such partition or timestamp")
        if key.__class__ is not bytes:
            key = _content(key)
        if value.__class__ is not bytes:
            value = _content(value)
        key_length, value_length = -1 if key is None else len(key), -1 if value is None else len(value)
        key, value, more, count = key or b"", value or b"", b"", 0
        if headers:
            pairs = headers.items() if hasattr(headers, "items") else headers
            pairs = [(_content(0 if name is None else name), _content(content)) for name, content in pairs]
            more = b"".join(
                _HEADER.pack(len(name), -1 if content is None else len(content)) + name + (content or b"")
                for name, content in pairs
            )
            count = len(pairs)
        size = _HEAD.size + len(key) + len(value) + len(more)
        lane.packed += _HEAD.pack(
            size,
            -1 if partition is None else partition,
            -1 if timestamp is None else timestamp,
            key_length,
            value_length,
            count,
        )
        lane.packed += key
        lane.packed += value
        lane.packed += more
        lane.open.append((future, timestamp, self._at))
        lane.came += 1
        self._held += size
        self._fresh[lane] = None
        if len(lane.packed) >= _CHUNK and not self._full and not lane.unknown:
            self._push_lane(lane)
        if not self._pushing:
            self._pushing = True
            self._loop.call_soon(self._push)
        return future

    @property
    def writable(self):
        """False while buffer.memory is used up: what is sent nevertheless waits, for max.block.ms at most, in memory of its own."""
        return not self._full and self._held < _MOST_HELD

    async def drain(self):
        """Waits until `writable`, and lets the sockets have their turn."""
        await asyncio.sleep(0)
        if not self.writable and self._handle is not None:
            self._room = self._room or self._loop.create_future()
            await asyncio.shield(self._room)

    async def flush(self):
        """Sends without lingering, and waits until each record that was given in before has its outcome."""
        if self._handle is not None:
            done = self._loop.create_future()
            self._push()
            self._when_taken(
                lambda: (
                    self._must(_call.milena_flush, _now(), ctypes.byref(self._number)),
                    self._flushes.__setitem__(self._number.value, done),
                ),
                done,
            )
            self._drain()
            await done

    async def close(self, timeout=None):
        """Takes no more, delivers what was given in and ends all connections. What is open after `timeout` seconds fails."""
        if self._closing is None:
            self._closing = self._loop.create_future()
            self._push()
            self._when_taken(lambda: self._must(_call.milena_close, _now()))
            self._drain()
        if timeout is not None and self._handle is not None:
            self._loop.call_later(timeout, self._abort)
        await asyncio.shield(self._closing)

    def _must(self, call, *arguments):
        result = call(self._handle, *arguments)
        if result != _OK:
            error = KafkaError("BUG", f"a fault of milena: {call.__name__}: {_REFUSALS[-result]}")
            self._end(error)
            raise error

    def _input(self, call, *arguments):
        if self._handle is not None:
            self._must(call, _now(), *arguments)
            self._drain()

    # From records to the machine.

    def _push(self):
        self._pushing, self._at = False, self._loop.time()
        if self._handle is None:
            return
        if self._at - self._told > 60:
            self._told = self._at
            self._must(_call.milena_time_of_day, _now(), time.time_ns() // 1_000_000)
        for lane in list(self._fresh):
            self._push_lane(lane)
        self._fresh.clear()
        self._drain()

    def _push_lane(self, lane):
        while lane.open and not self._full and not lane.unknown:
            # Read in place: what waits may be many times what the machine takes by one call.
            packed, taken = ctypes.c_char.from_buffer(lane.packed), self._taken
            result = _call.milena_send_many(
                self._handle,
                _now(),
                lane.name,
                len(lane.name),
                ctypes.byref(packed),
                len(lane.packed),
                self._runs,
                _RUNS,
                ctypes.byref(taken),
            )
            del packed  # whoever reads in place holds its size
            for run in self._runs[: taken.runs]:
                topic, partition, waiting, left = self._batches.get(run.batch) or (lane.topic, run.partition, [], 0)
                for _ in range(run.count):
                    future, timestamp, _at = lane.open.popleft()
                    waiting.append((future, taken.timestamp if timestamp is None else timestamp))
                self._batches[run.batch] = topic, partition, waiting, left + run.count
            del lane.packed[: taken.bytes]
            self._held -= taken.bytes
            if result == _BUFFER_FULL:
                self._full = True
            elif result == _NOT_READY:
                self._not_ready(lane)
            elif result != _OK:
                words = ctypes.create_string_buffer(1024)
                self._must(_call.milena_last_error, words, 1024, None)
                self._refuse(
                    lane,
                    SendError(
                        _REFUSALS[-result],
                        words.value.decode(errors="replace"),
                        retriable=_REFUSALS[-result] == "ACCESS_DENIED",
                    ),
                )
        self._settle(lane)

    def _settle(self, lane):
        if lane.open:
            self._stuck[lane] = None
            if self._block_timer is None:
                oldest = min(lane.open[0][2] for lane in self._stuck)
                self._block_timer = self._loop.call_at(oldest + self._max_block, self._expire)
        else:
            self._stuck.pop(lane, None)
            if lane.partition is not None:
                self._apart.pop((lane.topic, lane.partition), None)

    def _not_ready(self, lane):
        """The topic is not known, or it has not, or not yet, the first record's partition, for which the others need not wait."""
        (wanted,) = struct.unpack_from("<i", lane.packed, 4)
        self._must(_call.milena_partition_count, lane.name, len(lane.name), ctypes.byref(self._number))
        count, self._number.value = self._number.value & 0xFFFF_FFFF, 0
        if lane.partition is not None or count == 0 or wanted < count:
            lane.unknown = True
            return
        apart = self._apart.setdefault((lane.topic, wanted), _Lane(lane.topic, wanted))
        packed, entry = lane.skip()
        apart.packed += packed
        apart.open.append(entry)
        apart.came += 1
        for mark, _then, _over in self._marks:
            mark[apart] = apart.came
        self._settle(apart)

    def _refuse(self, lane, error):
        packed, (future, _timestamp, _at) = lane.skip()
        self._held -= len(packed)
        if not future.done():
            future.set_exception(error)

    def _retry(self, also):
        for lane in list(self._stuck):
            lane.unknown = lane.unknown and not also(lane)
            self._push_lane(lane)

    def _expire(self):
        self._block_timer, late = None, self._loop.time() - self._max_block
        for lane in list(self._stuck):
            why = None  # looked up once for all that wait for the same
            while lane.open and lane.open[0][2] <= late:
                why = why or self._why(lane)
                self._refuse(lane, SendError("TOPIC_UNKNOWN" if lane.unknown else "BUFFER_FULL", why, retriable=True))
            lane.unknown = lane.unknown and bool(lane.open)
            self._settle(lane)
        self._drain()

    def _why(self, lane):
        what = "it, or its partition, was not known" if lane.unknown else "buffer.memory had no room"
        words, topic = ctypes.create_string_buffer(4096), lane.name if lane.unknown else None
        self._must(_call.milena_why, _now(), topic, len(topic or b""), words, 4096, None)
        why = words.value.decode(errors="replace")
        return f"topic {lane.topic}: {what} within max.block.ms" + (f": {why}" if why else "")

    def _when_taken(self, then, over=None):
        """Goes on when all that was given in is in the machine, or has failed; `over` is done if the machine ends before."""
        self._marks.append(({lane: lane.came for lane in self._stuck}, then, over))

    def _check_marks(self):
        done = [
            mark for mark in self._marks if all(lane.came - len(lane.open) >= came for lane, came in mark[0].items())
        ]
        for mark in done:
            self._marks.remove(mark)
            mark[1]()
        return bool(done)

    # From the machine to the world.

    def _drain(self):
        it = self._output
        while self._handle is not None:
            self._must(_call.milena_poll, ctypes.byref(it))
            if it.kind == _WAIT:
                if self._marks and self._check_marks():
                    continue
                if self._room and self.writable:
                    self._room = self._room.set_result(None)
                return self._arm(it.time)
            if it.kind in (_DELIVERED, _NOT_DELIVERED):
                self._outcome(it)
            elif it.kind == _TRANSMIT:
                self._transmit(self._streams.get(it.conn))
            elif it.kind == _CONNECT:
                stream = self._streams[it.conn] = _Stream(self, it.conn)
                stream.task = self._loop.create_task(self._connect(stream, str(it.host), it.port, it.attempt))
            elif it.kind == _DISCONNECT:
                self._disconnect(self._streams.pop(it.conn, None))
            elif it.kind == _TOKEN:
                self._task = self._loop.create_task(self._token())
            elif it.kind == _FLUSHED:
                done = self._flushes.pop(it.id)
                if not done.done():  # or cancelled
                    done.set_result(None)
            elif it.kind == _TOPIC_READY:
                name = self._topic(it.topic)
                self._retry(lambda lane: lane.topic == name)
            elif it.kind == _TOPIC_FAILED:
                name, code, text, topic = str(it.name), it.code, str(it.text), self._topic(it.topic)
                for lane in [lane for lane in self._stuck if lane.topic == topic]:
                    while lane.open:
                        self._refuse(lane, SendError(name, f"topic {topic}: {text}", code))
                    lane.unknown = False
                    self._settle(lane)
            elif it.kind == _WRITABLE:
                self._full = False
                self._retry(lambda lane: False)
            elif it.kind in (_DENIED, _FATAL):
                self._loop.call_soon(self._log, str(it.text))  # what it raises is the application's own affair
                self._full = False
                self._retry(lambda lane: True)
            elif it.kind == _CLOSED:
                self._end()
            elif it.kind != _THROTTLED:
                self._loop.call_soon(self._log, f"{it.host}:{it.port}: {it.text}")

    def _topic(self, number):
        name = _Bytes()
        self._must(_call.milena_topic_name, number, ctypes.byref(name))
        return str(name)

    def _outcome(self, it):
        topic, partition, waiting, left = self._batches[it.batch]
        those = waiting[it.index : it.index + it.count]
        if it.kind == _DELIVERED:
            offset, stamp = it.offset, it.log_append_time
            for place, (future, timestamp) in enumerate(those):
                if not future.done():  # or cancelled
                    future.set_result(
                        Delivered(
                            topic, partition, offset + place if offset >= 0 else -1, timestamp if stamp < 0 else stamp
                        )
                    )
        else:
            name, text, fields = str(it.name), str(it.text), (it.code, bool(it.retriable), bool(it.possibly_written))
            for future, _timestamp in those:
                if not future.done():
                    future.set_exception(DeliveryError(name, text, *fields))
        if left == it.count:
            del self._batches[it.batch]
        else:
            self._batches[it.batch] = topic, partition, waiting, left - it.count

    def _arm(self, until):
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if until != _FOREVER:
            # Bytes that can be read are handed in first: asyncio runs timers behind the sockets.
            self._timer = self._loop.call_at(
                self._loop.time() + max(0, until - _now()) / 1e9, self._input, _call.milena_timeout
            )

    async def _connect(self, stream, host, port, attempt):
        cause = _CAUSE_RESOLVE
        try:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            cause = _CAUSE_CONNECT
            family, kind, protocol, _name, address = found[attempt % len(found)]
            plain = socket.socket(family, kind, protocol)
            try:
                plain.setblocking(False)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await self._loop.sock_connect(plain, address)
                cause = _CAUSE_TLS if self._tls else _CAUSE_IO
                await self._loop.create_connection(
                    lambda: stream, sock=plain, ssl=self._tls, server_hostname=host if self._tls else None
                )
            except BaseException:
                plain.close()
                raise
        except (OSError, EOFError, ValueError) as error:  # the last: a broker's name that is none
            # What the system says of the stream is not what TLS says: a broker that goes away in the handshake comes back. (One
            # that just closes has no number in Python's words.)
            of_system = isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno is not None
            if cause == _CAUSE_TLS and of_system:
                cause = _CAUSE_IO
            self._lost(stream, cause, str(error) or "closed by the other side in the handshake; does the port speak TLS?")

    def _lost(self, stream, cause, words):
        if self._streams.get(stream.conn) is stream:
            del self._streams[stream.conn]
            words = words.encode()
            self._input(_call.milena_disconnected, stream.conn, cause, words, len(words))

    def _disconnect(self, stream):
        if stream is None:
            return
        if stream.transport is None:
            stream.task.cancel()
        elif self._no_acks:
            # Closed at once, it would lose what the broker has not read.
            if stream.transport.can_write_eof():
                stream.transport.write_eof()
            self._loop.call_later(1, stream.transport.close)
        else:
            stream.transport.abort()

    def _transmit(self, stream):
        """Writes what there is until the stream takes no more."""
        while (
            stream is not None
            and stream.may_write
            and self._streams.get(stream.conn) is stream
            and self._handle is not None
        ):
            self._must(_call.milena_transmit, _now(), stream.conn, self._pieces, _PIECES, ctypes.byref(self._count))
            if self._count.value == 0:
                return
            data = b"".join(map(bytes, self._pieces[: self._count.value]))
            self._must(_call.milena_written, _now(), stream.conn, len(data))
            stream.transport.write(data)

    async def _token(self):
        try:
            token, lifetime = await self._token_of()
            token = token.encode()
            if lifetime is not None and not lifetime >= 0:
                raise ValueError("a token's lifetime has to be seconds from 0, or None")
            # 500 years in nanoseconds are too many for the machine's numbers.
            lifetime = int(lifetime * 1e9) if lifetime is not None and lifetime < 1e10 else _FOREVER
            self._input(_call.milena_token, token, len(token), lifetime)
        except Exception as error:  # the application's own
            words = str(error).encode()
            self._input(_call.milena_no_token, words, len(words))

    def _abort(self):
        if self._handle is not None:
            for lane in list(self._stuck):
                while lane.open:
                    self._refuse(lane, SendError("ABORTED", "the producer was closed before there was room"))
                self._settle(lane)
            self._check_marks()  # a flush or a close that waited for these records begins, and ends with the abort
            self._input(_call.milena_abort)

    def _end(self, error=None):
        """All is over. What is open fails with the error, if there is one."""
        handle, self._handle = self._handle, None
        _call.milena_free(handle)
        for timer in (self._timer, self._block_timer):
            if timer is not None:
                timer.cancel()
        for conn in list(self._streams):
            self._disconnect(self._streams.pop(conn))
        open_ = [
            future for _topic, _partition, waiting, _left in self._batches.values() for future, _timestamp in waiting
        ]
        for lane in (*self._lanes.values(), *self._apart.values()):
            open_.extend(future for future, _timestamp, _at in lane.open)
        for future in open_:
            if error is not None and not future.done():
                future.set_exception(error)
        self._closing = self._closing or self._loop.create_future()
        over = [over for _mark, _then, over in self._marks]
        self._marks.clear()
        for done in (*self._flushes.values(), *over, self._room, self._closing):
            if done is not None and not done.done():
                done.set_result(None)


def _content(it):
    if it is None or isinstance(it, bytes):
        return it
    if isinstance(it, str):
        return it.encode()
    if isinstance(it, (bytearray, memoryview)):
        return bytes(it)
    raise TypeError("a key, a value or a header has to be str, bytes or None")


def _tls(options):
    """What `ssl.*` means to Python's TLS."""
    context = ssl.create_default_context(
        cafile=options.get("ssl.truststore.location"), cadata=options.get("ssl.truststore.certificates")
    )
    context.check_hostname = options.get("ssl.endpoint.identification.algorithm", "https") != ""
    if options.get("ssl.keystore.location"):
        context.load_cert_chain(options["ssl.keystore.location"], password=options.get("ssl.key.password"))
    if options.get("ssl.cipher.suites"):
        context.set_ciphers(options["ssl.cipher.suites"].replace(",", ":"))
    for name in ("ssl.keystore.key", "ssl.enabled.protocols", "ssl.protocol"):
        if options.get(name):
            raise ValueError(f"{name}: give an ssl.SSLContext as `tls` instead")
    return context
