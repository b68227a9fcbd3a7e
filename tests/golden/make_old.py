#!/usr/bin/env python3
"""Makes a snapshot with the encodings of old versions, and has a real server say what is in it.

make_old.py SERVER-BINARY FOLDER [pre-ga | versions]: no server writes these any more, but Redis 8.2 loads them. With
pre-ga, the expiring hash fields of the release candidates of Redis 7.4 instead; with versions, a small snapshot of
each version that no server at hand writes, in FOLDER/v1 and so on, with all that came with that version.
"""
import os, struct, sys
from make import LATER, Server, crc64


def length(n):
    return bytes([n]) if n < 64 else struct.pack(">H", 0x4000 | n) if n < 16384 else b"\x80" + struct.pack(">I", n)


def string(data):
    return length(len(data)) + data


def strings(*items):
    return length(len(items)) + b"".join(string(item) for item in items)


def ziplist(*items):
    body, before, last = b"", 0, 10
    for item in items:
        if isinstance(item, int):
            for low, high, head, size in (
                (0, 12, None, 0), (-128, 127, 0xFE, 1), (-(1 << 15), (1 << 15) - 1, 0xC0, 2),
                (-(1 << 23), (1 << 23) - 1, 0xF0, 3), (-(1 << 31), (1 << 31) - 1, 0xD0, 4),
                (-(1 << 63), (1 << 63) - 1, 0xE0, 8),
            ):
                if low <= item <= high:
                    break
            entry = bytes([0xF1 + item]) if head is None else bytes([head]) + item.to_bytes(size, "little", signed=True)
        elif len(item) < 64:
            entry = bytes([len(item)]) + item
        elif len(item) < 16384:
            entry = struct.pack(">H", 0x4000 | len(item)) + item
        else:
            entry = b"\x80" + struct.pack(">I", len(item)) + item
        entry = (bytes([before]) if before < 254 else b"\xfe" + struct.pack("<I", before)) + entry
        last, before = 10 + len(body), len(entry)
        body += entry
    return struct.pack("<IIH", 11 + len(body), last, len(items)) + body + b"\xff"


def zipmap(*pairs):
    out = bytes([len(pairs)])
    for field, value, free in pairs:
        out += bytes([len(field)]) + field
        out += bytes([len(value)]) if len(value) < 254 else b"\xfe" + struct.pack("<I", len(value))
        out += bytes([free]) + value + b"?" * free
    return out + b"\xff"


def text_score(score):
    return b"\xfe" if score == float("inf") else b"\xff" if score == -float("inf") else string(b"%.17g" % score)


def entry(kind, key, body):
    return bytes([kind]) + string(key) + body


INTS = [0, 12, 13, -1, -128, 127, 300, -300, 100000, -100000, 1 << 24, -(1 << 31), 1 << 40, -(1 << 63)]
SCORES = [-float("inf"), -1.5, 0, 0.1, 2, 1e20, float("inf")]


def snapshot():
    yield b"REDIS0009"
    yield b"\xfa" + string(b"redis-ver") + string(b"5.0.0")
    yield b"\xfe\x00\xfb\x10\x02"
    yield b"\xfd" + struct.pack("<i", LATER // 2000) + entry(0, b"expires in seconds", string(b"x"))
    yield b"\xfc" + struct.pack("<q", LATER) + b"\xf8\x05" + entry(0, b"idle", string(b"x"))
    yield b"\xf9\xc8" + entry(0, b"frequent", b"\xc3\x05\x0a\x00a\xe0\x00\x00")
    yield entry(1, b"list", strings(b"a", b"b", b"10", b""))
    yield entry(10, b"list ziplist", string(ziplist(*INTS, b"", b"a" * 63, b"b" * 64, b"c" * 300, b"d" * 16400, b"12")))
    yield entry(14, b"list quicklist", strings(ziplist(b"a", 1), ziplist(b"b", *range(100)), ziplist(b"c")))
    yield entry(2, b"set", strings(b"a", b"b", b"-7"))
    yield entry(2, b"set of ints", strings(b"1", b"200000", b"-7"))
    yield entry(3, b"zset", length(len(SCORES)) + b"".join(string(b"m%d" % i) + text_score(s) for i, s in enumerate(SCORES)))
    yield entry(12, b"zset ziplist", string(ziplist(b"low", b"-1.5", 77, 2, b"a", 2, b"high", b"3.25")))
    yield entry(4, b"hash", strings(b"f", b"v", b"n", b"1").replace(b"\x04", b"\x02", 1))
    yield entry(9, b"hash zipmap", string(zipmap((b"f", b"v", 0), (b"free", b"space", 3), (b"long", b"l" * 300, 0))))
    yield entry(13, b"hash ziplist", string(ziplist(b"f", b"v", 5, 6, b"long", b"l" * 60)))
    yield b"\xff"


def listpack(*items):
    """Of strings below 64 bytes and integers of any size."""
    body = b""
    for item in items:
        entry = b"\xf4" + struct.pack("<q", item) if isinstance(item, int) else bytes([0x80 | len(item)]) + item
        body += entry + bytes([len(entry)])
    return struct.pack("<IH", 7 + len(body), len(items)) + body + b"\xff"


def pre_ga():
    yield b"REDIS0012\xfe\x00"
    late = b"\x81" + struct.pack(">Q", LATER)
    yield entry(22, b"fields", b"\x02" + late + string(b"a") + string(b"1") + b"\x00" + string(b"b") + string(b"2"))
    yield entry(23, b"packed", string(listpack(b"a", b"x", LATER, b"b", b"y", LATER + 7, b"c", b"z", 0)))
    yield b"\xff"


def with_all_up_to(version):
    """What each version of the format brought: Redis 1.2 to 2.8, 3.2, 4.0, 5.0, 7.2."""
    yield b"REDIS%04d" % version
    if version >= 7:
        yield b"\xfa" + string(b"redis-ver") + string(b"3.2.0")
    yield b"\xfe\x00"
    if version >= 7:
        yield b"\xfb\x20\x01"
    yield entry(0, b"string", string(b"text"))
    yield entry(0, b"int8", b"\xc0\x85") + entry(0, b"int16", b"\xc1\x00\x80") + entry(0, b"int32", b"\xc2\xff\xff\xff\x7f")
    yield entry(0, b"lzf", b"\xc3\x05\x0a\x00a\xe0\x00\x00")
    yield entry(0, b"fourteen bits", string(b"x" * 100))
    yield entry(0, b"thirty-two bits", b"\x80" + struct.pack(">I", 300) + b"y" * 300)
    yield b"\xfd" + struct.pack("<i", LATER // 2000) + entry(0, b"expires in seconds", string(b"x"))
    yield entry(1, b"list", strings(b"a", b"b", b"10", b""))
    yield entry(2, b"set", strings(b"a", b"b", b"-7"))
    yield entry(3, b"zset", length(len(SCORES)) + b"".join(string(b"m%d" % i) + text_score(s) for i, s in enumerate(SCORES)))
    yield entry(4, b"hash", b"\x02" + b"".join(map(string, (b"f", b"v", b"n", b"1"))))
    if version >= 2:
        yield entry(9, b"hash zipmap", string(zipmap((b"f", b"v", 0), (b"free", b"space", 3), (b"long", b"l" * 300, 0))))
        yield entry(10, b"list ziplist", string(ziplist(*INTS, b"", b"a" * 63, b"b" * 64, b"c" * 300)))
        for size, low in (2, -5), (4, 70000), (8, 1 << 40):
            ints = b"".join(n.to_bytes(size, "little", signed=True) for n in (low, low + 3, low + 9))
            yield entry(11, b"set intset %d" % size, string(struct.pack("<II", size, 3) + ints))
        yield entry(12, b"zset ziplist", string(ziplist(b"low", b"-1.5", 77, 2, b"a", 2, b"high", b"3.25")))
    if version >= 3:
        yield b"\xfc" + struct.pack("<q", LATER + 7) + entry(0, b"expires in milliseconds", string(b"x"))
    if version >= 4:
        yield entry(13, b"hash ziplist", string(ziplist(b"f", b"v", 5, 6, b"long", b"l" * 60)))
    if version >= 7:
        yield entry(14, b"list quicklist", strings(ziplist(b"a", 1), ziplist(b"b", *range(100)), ziplist(b"c")))
    if version >= 8:
        yield entry(5, b"zset 2", length(len(SCORES)) + b"".join(string(b"m%d" % i) + struct.pack("<d", s) for i, s in enumerate(SCORES)))
        yield entry(0, b"sixty-four bits", b"\x81" + struct.pack(">Q", 5) + b"hello")
    if version >= 9:
        yield b"\xf8\x05" + entry(0, b"idle", string(b"x"))
        yield b"\xf9\xc8" + entry(0, b"frequent", string(b"x"))
    if version >= 10:
        yield entry(16, b"hash listpack", string(listpack(b"f", b"v", b"n", 12)))
        yield entry(17, b"zset listpack", string(listpack(b"m", -3, b"n", b"2.5")))
        yield entry(18, b"list quicklist 2", b"\x02\x01" + string(b"plain") + b"\x02" + string(listpack(b"a", 7)))
    if version >= 11:
        yield entry(20, b"set listpack", string(listpack(b"a", b"b", 12)))
    yield b"\xfe\x0f" + entry(0, b"in db 15", string(b"x"))
    yield b"\xff"


def make(binary, folder, parts, checksum=True):
    data = b"".join(parts)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "dump.rdb")
    with open(path, "wb") as out:
        out.write(data + (struct.pack("<Q", crc64(data)) if checksum else b""))
    server = Server(binary, path)
    try:
        with open(os.path.join(folder, "keys.tsv"), "w") as out:
            out.write(server.keys())
    finally:
        server.stop()


def main():
    binary, folder, *rest = sys.argv[1:]
    if rest == ["versions"]:
        for version in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11):
            # There are checksums since version 5.
            make(binary, f"{folder}/v{version}", with_all_up_to(version), version >= 5)
    else:
        make(binary, folder, pre_ga() if rest == ["pre-ga"] else snapshot())


main()
