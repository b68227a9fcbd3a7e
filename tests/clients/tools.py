"""redis-cli and redis-benchmark at work on our server."""
import os
import re
import subprocess
import threading

from server import PATIENCE_S, Server, run, wait_until

CLI = os.environ["HAVERSACK_REDIS_CLI"]


def cli(server, *args, stdin=None, status=0):
    command = [CLI, "-p", str(server.port), *args]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=2 * PATIENCE_S)
    assert done.returncode == status, (args, done)
    return done.stdout.decode()


def fill(server):
    lines = [f"SET string:{n} {'x' * n}" for n in range(1, 300)]
    lines += [f"RPUSH list:{n} " + " ".join(map(str, range(n))) for n in (1, 10, 200)]
    lines += [f"SADD set {n}" for n in range(700)] + [f"ZADD zset {n} m{n}" for n in range(300)]
    lines += [f"HSET hash f{n} v{n}" for n in range(400)]
    cli(server, stdin="\n".join(lines).encode())


def conversation():
    with Server("--save", "") as server:
        assert cli(server, "SET", "a", "1 2") == "OK\n" and cli(server, "GET", "a") == "1 2\n"
        assert cli(server, "--no-raw", "GET", "none") == "(nil)\n"
        assert cli(server, "-3", "--no-raw", "HSET", "h", "f", "v") == "(integer) 1\n"
        assert cli(server, "-3", "--no-raw", "HGETALL", "h") == '1# "f" => "v"\n'
        assert cli(server, "-3", "--no-raw", "ZADD", "z", "1.5", "m") == "(integer) 1\n"
        assert cli(server, "-3", "--no-raw", "ZSCORE", "z", "m") == "(double) 1.5\n"
        assert cli(server, "-x", "SET", "stdin", stdin=b"\0\xff\r\n") == "OK\n"
        assert cli(server, "STRLEN", "stdin") == "4\n"
        assert cli(server, "-n", "5", "SET", "other", "1") == "OK\n" and cli(server, "-n", "5", "DBSIZE") == "1\n"
        assert cli(server, "-r", "5", "INCR", "n") == "1\n2\n3\n4\n5\n"
        assert cli(server, "--csv", "LRANGE", "none", "0", "-1") == "\n"
        assert "WRONGTYPE" in cli(server, "GET", "h")
        assert "redis_version:8." in cli(server, "INFO", "server")
        assert cli(server, stdin=b"MULTI\nSET m 1\nINCR m\nEXEC\n") == "OK\nQUEUED\nQUEUED\nOK\n2\n"


def big_keys():
    with Server("--save", "") as server:
        fill(server)
        said = cli(server, "--bigkeys")
        for line in ('Biggest string found "string:299" has 299 bytes', 'Biggest   list found "list:200" has 200 items',
                     'Biggest    set found "set" has 700 members', 'Biggest   zset found "zset" has 300 members',
                     'Biggest   hash found "hash" has 400 fields', "Sampled 305 keys"):
            plain = lambda text: " ".join(re.sub("[\"']", "", text).split())
            assert plain(line) in plain(said), (line, said)
        said = cli(server, "--memkeys")
        assert "Sampled 305 keys" in said and re.search(r'Biggest +set found \S*set\S* has \d+ bytes', said), said


def hot_keys():
    with Server("--save", "", "--maxmemory-policy", "allkeys-lfu") as server:
        fill(server)
        cli(server, "-r", "3000", "GET", "string:7")
        said = cli(server, "--hotkeys")
        hottest = re.search(r"hot key found with counter: (\d+)\s+keyname: (\S+)", said)
        assert hottest and hottest[2].strip("\"'") == "string:7" and int(hottest[1]) > 5, said


def scanning():
    with Server("--save", "") as server:
        fill(server)
        assert len(set(cli(server, "--scan").split())) == 305
        assert set(cli(server, "--scan", "--pattern", "list:*").split()) == {"list:1", "list:10", "list:200"}


def pipe_mode():
    with Server("--save", "") as server:
        def encoded(*args):
            return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)
        commands = b"".join(encoded(b"SET", b"key:%d" % n, b"value \r\n %d" % n) for n in range(20_000))
        said = cli(server, "--pipe", stdin=commands + encoded(b"NOPE"), status=1)
        assert "errors: 1, replies: 20001" in said, said
        assert cli(server, "DBSIZE") == "20000\n" and cli(server, "GET", "key:7") == "value \r\n 7\n"


def monitoring():
    with Server("--save", "") as server:
        process = subprocess.Popen([CLI, "-p", str(server.port), "MONITOR"], stdout=subprocess.PIPE)
        try:
            lines = []
            reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, b"")), daemon=True)
            reader.start()
            wait_until("the monitor", lambda: "cmd=monitor" in cli(server, "CLIENT", "LIST"))
            cli(server, "-n", "3", "SET", "a", 'quo"te')
            wait_until("the line", lambda: any(b'[3 127.0.0.1:' in l and b'"SET" "a" "quo\\"te"' in l for l in lines))
        finally:
            process.kill()
            process.wait()


def latency():
    with Server("--save", "") as server:
        # The one-line form prints the summary of a second and ends when its output is no terminal.
        said = cli(server, "-i", "1", "--raw", "--latency")
        assert re.match(r"^\d+ \d+ [\d.]+ \d+\s*$", said), said


def benchmark(*options):
    def test():
        with Server("--save", "") as server:
            command = [os.environ["HAVERSACK_REDIS_BENCHMARK"], "-p", str(server.port), "-q", *options]
            done = subprocess.run(command, capture_output=True, timeout=8 * PATIENCE_S)
            said = done.stdout.decode() + done.stderr.decode()
            assert done.returncode == 0 and "rror" not in said and "requests per second" in said, said
            for name in ("PING_INLINE", "SET", "LRANGE_600", "MSET", "HSET", "ZPOPMIN"):
                assert f"{name}" in said, said
    return test


if __name__ == "__main__":
    run([
        ("redis-cli conversation", conversation),
        ("redis-cli --bigkeys and --memkeys", big_keys),
        ("redis-cli --hotkeys", hot_keys),
        ("redis-cli --scan", scanning),
        ("redis-cli --pipe", pipe_mode),
        ("redis-cli MONITOR", monitoring),
        ("redis-cli --latency", latency),
        ("redis-benchmark", benchmark("-n", "2000")),
        ("redis-benchmark -P 16 --threads", benchmark("-n", "4000", "-P", "16", "--threads", "2", "-r", "1000")),
    ])
