#!/usr/bin/env python3
"""Opens TCP streams for a device that has a UART and no network, as a modem does.

    relay.py [--corrupt N] COMMAND...

Runs COMMAND, in which each {} stands for the port to which the UART is to be connected. A frame, both ways: its kind, a zero, the
length of what follows (16 bits), the stream's number (32 bits), little endian, and that many bytes. From the device: C (open
HOST:PORT), D (data), X (close); to it: O (open), D, X. QEMU's own `reconnect=` does not do: a UART has no carrier, so the device
would not learn that its stream is another one, and one UART would be one stream. --corrupt N changes a byte of each N on the way out, and
says at the end how many. (Not on the way in: an error code that damage made can't be told from one that was meant.)
"""
import os
import selectors
import socket
import struct
import subprocess
import sys

arguments = sys.argv[1:]
corrupt = int(arguments[1]) if arguments[0] == "--corrupt" else 0
command = arguments[2:] if corrupt else arguments
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
program = subprocess.Popen([word.replace("{}", str(port)) for word in command])
listener.settimeout(20)
uart = listener.accept()[0]
poll = selectors.DefaultSelector()
poll.register(uart, selectors.EVENT_READ, None)
streams, passed, changed, pending = {}, 0, 0, b""


def damaged(data):
    global passed, changed
    data = bytearray(data)
    if corrupt:
        for place in range(-passed % corrupt, len(data), corrupt):
            if passed + place:
                data[place] ^= 0x10
                changed += 1
        passed += len(data)
    return bytes(data)


def say(kind, number, data=b""):
    uart.sendall(kind + b"\0" + struct.pack("<HI", len(data), number) + data)


def end(number, tell):
    stream = streams.pop(number, None)
    if stream:
        poll.unregister(stream)
        stream.close()
    if tell:
        say(b"X", number)


def do(kind, number, data):
    if kind == b"C":
        host, _, to = data.decode().rpartition(":")
        try:
            streams[number] = socket.create_connection((host, int(to)), 5)
        except OSError:
            return end(number, True)
        poll.register(streams[number], selectors.EVENT_READ, number)
        say(b"O", number)
    elif kind == b"X":
        end(number, False)
    elif number in streams:
        try:
            streams[number].sendall(damaged(data))
        except OSError:
            end(number, True)


try:
    while True:
        for key, _ in poll.select():
            try:
                data = key.fileobj.recv(65536 if key.data is None else 128)
            except OSError:
                data = b""
            if key.data is None:
                if not data:
                    raise EOFError
                pending += data
                while len(pending) >= 8:
                    length, number = struct.unpack("<HI", pending[2:8])
                    if len(pending) < 8 + length:
                        break
                    kind, data, pending = pending[:1], pending[8 : 8 + length], pending[8 + length :]
                    do(kind, number, data)
            elif key.data in streams and data:
                say(b"D", key.data, data)
            elif key.data in streams:
                end(key.data, True)
except (EOFError, OSError):
    pass
status = program.wait()
if corrupt:
    print(f"{changed} bytes damaged", flush=True)
sys.exit(status)
