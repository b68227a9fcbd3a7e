"""Sessions of redis-py with our server, each in RESP2 and RESP3."""
import asyncio
import threading
import time

import redis
import redis.asyncio

from server import PATIENCE_S, Server, run, wait_until

NASTY = bytes(range(256)) + b"\r\n$-1\r\n*0\r\n" + bytes(1000)


def basics(connect):
    r = connect()
    assert r.ping() is True
    assert r.set("a", "1") is True and r.get("a") == b"1"
    assert r.set("a", "2", nx=True) is None
    assert r.set("a", "2", get=True) == b"1"
    assert r.incrbyfloat("f", 0.5) == 0.5
    assert r.mget("a", "none") == [b"2", None]
    assert r.rpush("l", "x", "y", "z") == 3 and r.lrange("l", 0, -1) == [b"x", b"y", b"z"]
    assert r.sadd("s", "m", "n") == 2 and set(r.smembers("s")) == {b"m", b"n"}
    assert r.hset("h", mapping={"f": "v", "n": 1}) == 2 and r.hgetall("h") == {b"f": b"v", b"n": b"1"}
    assert r.zadd("z", {"one": 1, "two": 2.5}) == 2
    assert [(m, s) for m, s in r.zrange("z", 0, -1, withscores=True)] == [(b"one", 1.0), (b"two", 2.5)]
    assert r.zscore("z", "two") == 2.5 and r.zscore("z", "none") is None
    assert r.expire("a", 100) and 0 < r.ttl("a") <= 100 and r.persist("a")
    assert r.hexpire("h", 100, "f") == [1] and r.httl("h", "f", "n", "none") == [100, -1, -2]
    assert r.type("z") == b"zset" and r.object("encoding", "l") == b"listpack"
    assert r.delete("a", "l", "none") == 2 and r.exists("a", "s") == 1


def binary_safety(connect):
    r = connect()
    r.set(NASTY, NASTY)
    assert r.get(NASTY) == NASTY and r.strlen(NASTY) == len(NASTY)
    r.hset(b"h", NASTY, NASTY)
    assert r.hgetall("h") == {NASTY: NASTY}
    assert r.keys() == [NASTY, b"h"] or r.keys() == [b"h", NASTY]
    large = bytes(5_000_000)
    r.set("large", large)
    assert r.get("large") == large
    text = connect(decode_responses=True)
    text.set("grüße", "日本")
    assert text.get("grüße") == "日本"


def pipelines(connect):
    r = connect()
    with r.pipeline(transaction=False) as pipe:
        for n in range(5000):
            pipe.set(f"k{n}", n).incr(f"k{n}")
        assert pipe.execute() == [x for n in range(5000) for x in (True, n + 1)]
    with r.pipeline(transaction=False) as pipe:
        pipe.set("text", "x").incr("text").get("text")
        ok, error, value = pipe.execute(raise_on_error=False)
        assert ok is True and value == b"x" and isinstance(error, redis.ResponseError)


def transactions(connect):
    r = connect()
    with r.pipeline() as pipe:
        assert pipe.set("a", 1).incr("a").lpush("l", "x").execute() == [True, 2, 1]
    with r.pipeline() as pipe:
        pipe.watch("a")
        connect().set("a", 100)
        pipe.multi()
        pipe.set("a", 3)
        try:
            pipe.execute()
            raise AssertionError("a watched key changed, and EXEC went through")
        except redis.WatchError:
            pass
    assert r.get("a") == b"100"
    # Several clients raise one number, each by watching it.
    def raise_it():
        mine = connect()
        for _ in range(25):
            mine.transaction(lambda pipe: (value := int(pipe.get("a")), pipe.multi(), pipe.set("a", value + 1)), "a")
    in_threads([raise_it] * 4)
    assert r.get("a") == b"200"


def in_threads(functions):
    errors = []

    def guarded(function):
        try:
            function()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a client hangs"
    if errors:
        raise errors[0]


def next_message(sub):
    return wait_until("the message", lambda: sub.get_message(timeout=0.1))


def publishing(connect):
    r = connect()
    with r.pubsub() as sub:
        sub.subscribe("news")
        sub.psubscribe("n?ws")
        sub.ssubscribe("shard")
        kinds = [next_message(sub)["type"] for _ in range(3)]
        assert kinds == ["subscribe", "psubscribe", "ssubscribe"], kinds
        assert r.pubsub_channels() == [b"news"] and r.pubsub_numsub("news", "x") == [(b"news", 1), (b"x", 0)]
        assert r.pubsub_numpat() == 1
        assert r.publish("news", NASTY) == 2
        first, second = next_message(sub), next_message(sub)
        assert (first["type"], first["data"]) == ("message", NASTY)
        assert (second["type"], second["pattern"], second["channel"]) == ("pmessage", b"n?ws", b"news")
        assert r.spublish("shard", "x") == 1
        assert wait_until("the message", lambda: sub.get_sharded_message(timeout=0.1))["data"] == b"x"
        sub.ping()
        assert next_message(sub)["type"] == "pong"
        sub.unsubscribe()
        assert next_message(sub)["type"] == "unsubscribe"
    r.config_set("notify-keyspace-events", "KEA")
    with r.pubsub(ignore_subscribe_messages=True) as sub:
        sub.psubscribe("__key*__:*")
        # The first call only reads the confirmation.
        sub.get_message(timeout=1)
        r.set("watched", 1)
        heard = {next_message(sub)["channel"] for _ in range(2)}
        assert heard == {b"__keyspace@0__:watched", b"__keyevent@0__:set"}, heard


def blocked(r, count):
    wait_until(f"{count} blocked", lambda: r.info("clients")["blocked_clients"] == count)


def blocking_pops(connect):
    r = connect()
    taken = []
    threads = []
    for n in range(5):
        thread = threading.Thread(target=lambda n=n: taken.append((n, connect().blpop(["jobs", "more"], PATIENCE_S))))
        thread.start()
        threads.append(thread)
        blocked(r, n + 1)
    # Who has waited longest is served first.
    for n in range(5):
        r.rpush("jobs", f"job {n}")
        threads[n].join(PATIENCE_S)
        assert taken[-1] == (n, (b"jobs", b"job %d" % n)) or taken[-1] == (n, [b"jobs", b"job %d" % n]), taken
    assert r.blpop("jobs", 0.05) is None
    began = time.monotonic()
    assert r.brpoplpush("jobs", "done", 1) is None and time.monotonic() - began >= 0.9
    r.zadd("z", {"a": 1})
    assert tuple(r.bzpopmin("z", 1)) == (b"z", b"a", 1.0)


def scans(connect):
    r = connect()
    with r.pipeline(transaction=False) as pipe:
        for n in range(2000):
            pipe.set(f"key:{n}", n)
            pipe.hset("h", f"f{n}", n)
            pipe.sadd("s", n)
            pipe.zadd("z", {f"m{n}": n})
        pipe.execute()
    assert {*r.scan_iter(match="key:*", count=77)} == {b"key:%d" % n for n in range(2000)}
    assert {*r.scan_iter(_type="zset")} == {b"z"}
    assert len({*r.hscan_iter("h")}) == 2000 and len({*r.hscan_iter("h", no_values=True)}) == 2000
    assert {*r.sscan_iter("s", count=100)} == {b"%d" % n for n in range(2000)}
    assert {*r.zscan_iter("z", match="m1*")} == {(b"m%d" % n, float(n)) for n in range(2000) if str(n)[0] == "1"}


def expect(error, function, text=""):
    try:
        function()
    except error as found:
        assert text in str(found), found
    else:
        raise AssertionError(f"no {error.__name__}")


def errors(connect):
    r = connect()
    r.lpush("l", 1)
    expect(redis.ResponseError, lambda: r.get("l"), "WRONGTYPE")
    expect(redis.ResponseError, lambda: r.execute_command("NOPE"), "unknown command")
    expect(redis.ResponseError, lambda: r.execute_command("GET"), "wrong number of arguments")
    # The client drains EXEC's own answer and tells what was wrong first.
    expect(redis.ResponseError, lambda: r.pipeline().set("a", 1).execute_command("GET").execute(), "Command # 2")
    assert r.exists("a") == 0
    r.config_set("maxmemory", 1)
    expect(redis.exceptions.OutOfMemoryError, lambda: r.set("a", 1))
    r.config_set("maxmemory", 0)
    r.config_set("requirepass", "secret")
    expect(redis.AuthenticationError, lambda: connect().ping())
    expect(redis.AuthenticationError, lambda: connect(password="wrong").ping())
    assert connect(password="secret").ping() and connect(username="default", password="secret").ping()
    r.config_set("requirepass", "")


def answers_about_the_server(connect):
    r = connect(client_name="tester")
    info = r.info()
    assert info["redis_version"].startswith("8.") and info["tcp_port"] == r.connection_pool.connection_kwargs["port"]
    assert isinstance(info["used_memory"], int) and info["role"] == "master" and info["uptime_in_seconds"] >= 0
    r.set("a", 1)
    keyspace = r.info("keyspace")["db0"]
    assert keyspace["keys"] == 1 and keyspace["expires"] == 0
    assert r.info("commandstats")["cmdstat_set"]["calls"] >= 1
    config = r.config_get("max*")
    assert config["maxclients"] == "10000" and "maxmemory" in config
    assert r.config_set("maxmemory-policy", "allkeys-lfu") and r.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lfu"
    r.config_set("maxmemory-policy", "noeviction")
    mine = [c for c in r.client_list() if c["name"] == "tester"]
    assert len(mine) == 1 and int(mine[0]["id"]) == r.client_id() and mine[0]["cmd"] == "client|list", mine
    assert mine[0]["lib-name"].startswith("redis-py")
    assert r.client_info()["name"] == "tester" and r.client_getname() in (b"tester", "tester")
    commands = r.command()
    assert commands["get"]["arity"] == 2 and "readonly" in commands["get"]["flags"]
    assert r.command_count() == len(commands)
    assert [*r.command_getkeys("MSET", "a", 1, "b", 2)] in (["a", "b"], [b"a", b"b"])
    assert r.time()[0] > 1_700_000_000 and r.dbsize() == 1 and r.lastsave() is not None
    assert r.slowlog_len() >= 0 and isinstance(r.slowlog_get(), list) and r.memory_usage("a") > 0
    assert r.echo("x") == b"x" and r.config_resetstat()
    other = connect()
    assert r.client_kill_filter(_id=other.client_id()) == 1
    # The client's pool connects again.
    assert other.ping()


def other_dbs(connect):
    one, two = connect(db=1), connect(db=2)
    one.set("a", 1)
    assert two.get("a") is None and one.move("a", 2) and two.get("a") == b"1"
    payload = two.dump("a")
    assert one.restore("b", 0, payload) and one.get("b") == b"1"
    assert one.copy("b", "c", destination_db=3) and connect(db=3).get("c") == b"1"
    two.flushdb()
    assert two.dbsize() == 0 and one.dbsize() == 1


def reconnects(protocol):
    with Server("--appendonly", "yes", "--save", "") as server:
        r = redis.Redis(port=server.port, protocol=protocol)
        r.set("a", "kept")
        r.hset("h", "f", "v")
        server.kill()
        expect(redis.ConnectionError, r.ping)
        server.start()
        assert r.get("a") == b"kept" and r.hgetall("h") == {b"f": b"v"}


def asynchronous(protocol):
    async def session(port):
        r = redis.asyncio.Redis(port=port, protocol=protocol)
        await asyncio.gather(*(r.incr("n") for _ in range(50)))
        assert await r.get("n") == b"50"
        pops = [asyncio.create_task(r.blpop("l", PATIENCE_S)) for _ in range(10)]
        await asyncio.sleep(0)
        await r.rpush("l", *range(10))
        values = sorted(int(value) for _, value in await asyncio.gather(*pops))
        assert values == list(range(10))
        async with r.pubsub() as sub:
            await sub.subscribe("c")
            await r.publish("c", "x")
            async for message in sub.listen():
                if message["type"] == "message":
                    assert message["data"] == b"x"
                    break
        await r.aclose()

    with Server("--save", "") as server:
        asyncio.run(asyncio.wait_for(session(server.port), PATIENCE_S))


def with_server(test, protocol):
    def session():
        with Server("--save", "", "--slowlog-log-slower-than", "0") as server:
            test(lambda **options: redis.Redis(port=server.port, protocol=protocol, **options))
    return session


SESSIONS = [basics, binary_safety, pipelines, transactions, publishing, blocking_pops, scans, errors,
            answers_about_the_server, other_dbs]

if __name__ == "__main__":
    tests = []
    for protocol in 2, 3:
        named = lambda name: f"redis-py RESP{protocol} {name}"
        tests += [(named(test.__name__), with_server(test, protocol)) for test in SESSIONS]
        tests += [(named("reconnects"), lambda p=protocol: reconnects(p))]
        tests += [(named("asynchronous"), lambda p=protocol: asynchronous(p))]
    run(tests)
