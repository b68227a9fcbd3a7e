#!/usr/bin/env python3
"""Makes dump.rdb and keys.tsv of one real server: make.py SERVER-BINARY FOLDER [plain] (needs redis-py).

plain: without hash fields that expire.

keys.tsv says what the server itself thinks is in the file, one key a line:
db, key (hex), type, OBJECT ENCODING, expire time in ms or -1, number of elements, CRC-64 of the elements.
"""
import os, random, shutil, socket, struct, subprocess, sys, tempfile, time
import redis

LATER = 4102444800000  # the year 2100
random.seed(20261122)


def crc64(data):
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x95AC9329AC4BC9B5 if crc & 1 else crc >> 1
    return crc


def letters(length):
    return bytes(random.choice(b"abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(length))


def fill(r, fields_expire):
    for name, value in {
        "empty": b"", "short": b"hello", "int8": b"-128", "int16": b"-32768", "int32": b"2147483647",
        "int64": b"9223372036854775807", "long-int": b"12345678901", "not-int": b"007", "minus-zero": b"-0",
        "compressed": b"haversack " * 100, "run": b"x" * 5000, "noise": letters(300),
        "binary": bytes(range(256)), "sixty-four": b"s" * 64,
    }.items():
        r.set("string:" + name, value)
    r.set(b"\x00\xff\r\n key", b"odd key")
    r.set("12345", b"key that is a number")
    r.set("k" * 70, b"long key")
    numbers = [0, 1, 127, 128, -1, -4096, 4095, 4096, 32767, -32769, 8388607, 8388608, 2147483648, -(1 << 63)]
    r.rpush("list:small", *numbers, b"", b"a" * 63, b"b" * 64, b"c" * 1000)
    r.rpush("list:big", *[b"element %d" % i for i in range(1500)], b"z" * 9000, b"last")
    r.sadd("set:int16", 1, -5, 300)
    r.sadd("set:int32", 1, -5, 70000)
    r.sadd("set:int64", 1, -5, 5000000000)
    r.sadd("set:many-ints", *range(600))
    r.sadd("set:small", b"a", b"bb", 12, b"")
    r.sadd("set:big", *[b"member %d" % i for i in range(200)], b"m" * 70)
    scores = [0, -1, 1.5, 0.1, 3e100, -2.5e-7, 4.0, float("inf"), float("-inf"), 1 << 40]
    r.zadd("zset:small", {b"m%d" % i: score for i, score in enumerate(scores)})
    r.zadd("zset:big", {b"member %d" % i: i / 7 for i in range(200)} | {b"w" * 70: 3})
    r.hset("hash:small", mapping={b"field": b"value", b"n": 12, b"": b"", b"x": b"y" * 60})
    r.hset("hash:big", mapping={b"field %d" % i: b"value %d" % i for i in range(150)} | {b"w": b"w" * 70})
    if fields_expire:
        for name in "hash:small-ttl", "hash:big-ttl":
            r.hset(name, mapping={b"a": b"1", b"b": b"2", b"c": b"never"})
            r.execute_command("HPEXPIREAT", name, LATER + 5000, "FIELDS", 1, "a")
            r.execute_command("HPEXPIREAT", name, LATER, "FIELDS", 1, "b")
        r.hset("hash:big-ttl", "w", b"w" * 70)
        r.hset("hash:persisted", mapping={b"a": b"1"})
        r.execute_command("HPEXPIREAT", "hash:persisted", LATER, "FIELDS", 1, "a")
        r.execute_command("HPERSIST", "hash:persisted", "FIELDS", 1, "a")
    r.set("expires", b"later")
    r.pexpireat("expires", LATER)
    r.execute_command("SELECT", 3)
    r.set("in-db-3", b"here")
    r.rpush("list:expires", b"a")
    r.pexpireat("list:expires", LATER + 123)
    r.execute_command("SELECT", 15)
    r.set("in-db-15", 15)


def describe(r, key):
    kind = r.type(key).decode()
    if kind == "string":
        items = [r.get(key)]
    elif kind == "list":
        items = r.lrange(key, 0, -1)
    elif kind == "set":
        items = sorted(r.smembers(key))
    elif kind == "zset":
        items = [part for m, s in r.zrange(key, 0, -1, withscores=True) for part in (m, struct.pack("<d", s))]
    else:
        items = []
        for field, value in sorted(r.hgetall(key).items()):
            try:
                expiry = r.execute_command("HPEXPIRETIME", key, "FIELDS", 1, field)[0]
            except redis.ResponseError:
                expiry = -1
            items += [field, value, struct.pack("<q", expiry)]
    digest = crc64(b"".join(struct.pack("<Q", len(item)) + item for item in items))
    expiry = r.execute_command("PEXPIRETIME", key)
    encoding = r.execute_command("OBJECT", "ENCODING", key).decode()
    return f"{key.hex()}\t{kind}\t{encoding}\t{expiry}\t{len(items)}\t{digest:016x}"


class Server:
    """A server of its own on a free port; with a dump, one that loads it."""

    def __init__(self, binary, dump=None, options=()):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.folder = tempfile.mkdtemp()
        self.dump = os.path.join(self.folder, "dump.rdb")
        if dump:
            shutil.copy(dump, self.dump)
        self.log = open(os.path.join(self.folder, "log"), "w")
        command = [binary, "--port", str(port), "--save", "", "--dir", self.folder, *options]
        self.process = subprocess.Popen(command, stdout=self.log)
        self.redis = redis.Redis(port=port, single_connection_client=True)
        while True:
            if self.process.poll() is not None:
                raise SystemExit("the server went away:\n" + open(self.log.name).read())
            try:
                self.redis.ping()
                break
            except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
                time.sleep(0.05)

    def keys(self):
        """The lines of keys.tsv."""
        lines = []
        for db in range(16):
            self.redis.execute_command("SELECT", db)
            lines += [f"{db}\t{describe(self.redis, key)}\n" for key in sorted(self.redis.keys())]
        return "".join(lines)

    def terminate(self):
        self.process.terminate()
        self.process.wait()

    def stop(self):
        self.terminate()
        shutil.rmtree(self.folder)


def main():
    binary, folder, *rest = sys.argv[1:]
    server = Server(binary)
    try:
        r = server.redis
        try:
            r.execute_command("HPEXPIRETIME", "none", "FIELDS", 1, "f")
            fields_expire = True
        except redis.ResponseError:
            fields_expire = False
        fill(r, fields_expire and rest != ["plain"])
        keys = server.keys()
        r.execute_command("SAVE")
        os.makedirs(folder, exist_ok=True)
        shutil.copy(server.dump, os.path.join(folder, "dump.rdb"))
        with open(os.path.join(folder, "keys.tsv"), "w") as out:
            out.write(keys)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
