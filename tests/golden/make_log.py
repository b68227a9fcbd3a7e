#!/usr/bin/env python3
"""Makes the logs and the small snapshots of one server: make_log.py SERVER-BINARY FOLDER (needs redis-py).

FOLDER/log and FOLDER/log-commands are append-only logs whose base is a snapshot and commands, each with a part behind
it that holds changes of many kinds, and with what the server says is in it in keys.tsv (see make.py).
FOLDER/only/*.rdb are snapshots of one key or library each that Haversack does not load or passes over.
"""
import os, shutil, sys, time
import redis
from make import LATER, Server


def fill(r):
    r.set("string", "hello")
    r.set("number", 12345)
    r.set(b"\x00\xff\r\n key", b"*1\r\n#}\r\n odd")
    r.set("compressed", b"haversack " * 50)
    r.set("expires", b"later")
    r.pexpireat("expires", LATER)
    r.rpush("list", *range(5), b"", b"a" * 70)
    r.sadd("set:ints", 1, 2, 3, 70000)
    r.sadd("set", b"a", b"b", b"c")
    r.zadd("zset", {b"a": 1.5, b"b": float("inf"), b"c": -2})
    r.hset("hash", mapping={b"a": b"1", b"b": b"2", b"c": b"3"})


def change(r, fields_expire):
    r.incrbyfloat("number", 0.5)
    r.append("string", " world")
    r.rpoplpush("list", "other")
    r.spop("set:ints")
    r.zincrby("zset", 0.25, b"a")
    r.hincrbyfloat("hash", "a", 0.5)
    r.getdel("compressed")
    r.set("short", "x", ex=1 << 30)
    r.execute_command("COPY", "set", "set:copy")
    with r.pipeline(transaction=True) as both:
        both.set("in-multi", 1).rpush("list", "in-multi")
        both.execute()
    if fields_expire:
        r.execute_command("HPEXPIREAT", "hash", LATER, "FIELDS", 1, "b")
    r.execute_command("SELECT", 3)
    r.set("in-db-3", "here")
    r.execute_command("SELECT", 0)


def knows(r, *command):
    try:
        r.execute_command(*command)
        return True
    except redis.ResponseError:
        return False


def make_log(binary, folder, preamble):
    server = Server(binary, options=["--appendonly", "yes", "--aof-use-rdb-preamble", preamble])
    try:
        r = server.redis
        fill(r)
        r.execute_command("BGREWRITEAOF")
        while r.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.05)
        assert r.info("persistence")["aof_last_bgrewrite_status"] == "ok"
        change(r, knows(r, "HPEXPIRETIME", "none", "FIELDS", 1, "f"))
        # Keys that go within the life of this file have no place in it.
        r.persist("short")
        keys = server.keys()
        server.terminate()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(os.path.join(server.folder, "appendonlydir"), os.path.join(folder, "appendonlydir"))
        with open(os.path.join(folder, "keys.tsv"), "w") as out:
            out.write(keys)
    finally:
        server.stop()


ONLY = {
    "stream": [["XADD", "stream", "1-1", "field", "value"], ["XGROUP", "CREATE", "stream", "group", "0"]],
    "function": [["FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"]],
    "vectors": [["VADD", "vectors", "VALUES", 2, 1, 0, "element"]],
}


def make_only(binary, folder, name):
    server = Server(binary)
    try:
        if all(knows(server.redis, *command) for command in ONLY[name]):
            server.redis.execute_command("SAVE")
            os.makedirs(folder, exist_ok=True)
            shutil.copy(server.dump, os.path.join(folder, name + ".rdb"))
    finally:
        server.stop()


def main():
    binary, folder = sys.argv[1:3]
    make_log(binary, os.path.join(folder, "log"), "yes")
    make_log(binary, os.path.join(folder, "log-commands"), "no")
    if os.path.basename(folder) != "haversack":
        for name in ONLY:
            make_only(binary, os.path.join(folder, "only"), name)


if __name__ == "__main__":
    main()
