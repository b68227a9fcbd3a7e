"""What the Python sessions share: a server of their own, and a runner that counts."""
import os
import shutil
import socket
import subprocess
import tempfile
import time
import traceback

PATIENCE_S = 30


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, holds):
    """Polls until `holds` returns something true, and returns that."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = holds()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} does not happen")
        time.sleep(0.01)


class Server:
    """Our server with a folder of its own; it can be started again with what it has stored."""

    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="haversack-clients-")
        self.port = free_port()
        threads = os.environ.get("HAVERSACK_IO_THREADS")
        self.options = (*(["--io-threads", threads] if threads else []), *options)
        self.start()

    def start(self):
        self.log = os.path.join(self.folder, "server.log")
        command = [os.environ["HAVERSACK_SERVER"], "--port", str(self.port), "--dir", self.folder, *self.options]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until("the listening", self.listens)

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError("the server went away:\n" + open(self.log).read())
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as s:
                s.sendall(b"PING\r\n")
                return s.recv(64) == b"+PONG\r\n"
        except OSError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def run(tests):
    """Runs tests, each a function; prints what failed, and the count as the last line."""
    passed = failed = 0
    for name, test in tests:
        try:
            test()
            passed += 1
            print(f"ok {name}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    raise SystemExit(failed != 0)
