"""A running m1-serve for tests: on 127.0.0.1, a free port, ended by close() and at exit whatever happens."""
import atexit
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def compile_model(bin_dir, model, artifact, *options):
    result = subprocess.run([os.path.join(bin_dir, "m1-compile"), model, "-o", artifact, *options], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


def tiny_reasoner(bin_dir):
    """examples/tiny-reasoner, compiled into a directory that lives as long as the process."""
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    artifact = os.path.join(directory.name, "tiny.m1a")
    compile_model(bin_dir, os.path.join(ROOT, "examples", "tiny-reasoner", "model"), artifact)
    return artifact


class Server:
    def __init__(self, bin_dir, artifact, *options):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([os.path.join(bin_dir, "m1-serve"), artifact, "--port", "0", *options], stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        atexit.register(self.kill)
        line = self.process.stdout.readline()
        found = re.fullmatch(r"m1-serve: http://(\S+):(\d+)\n", line)
        if not found:
            self.process.wait(10)
            raise RuntimeError(line + self.logged())
        self.host, self.port = found[1], int(found[2])

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def close(self):
        """Ends it as a service manager would; gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(30)
        finally:
            self.kill()
            self.process.stdout.close()
        return code

    def logged(self):
        self.log.seek(0)
        return self.log.read().decode()

    def connect(self, timeout=60):
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def raw(self, data, timeout=60):
        """A socket on which these bytes have been sent."""
        connection = socket.create_connection((self.host, self.port), timeout=timeout)
        connection.sendall(data)
        return connection

    def request(self, method, path, body=None, headers=None, timeout=60):
        """(status, headers, body): the body parsed when it is JSON."""
        connection = self.connect(timeout)
        try:
            all_headers = dict(headers or {})
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            if body is not None:
                all_headers.setdefault("Content-Type", "application/json")
            connection.request(method, path, body, all_headers)
            answer = connection.getresponse()
            data = answer.read()
            if answer.getheader("Content-Type", "").startswith("application/json"):
                data = json.loads(data)
            return answer.status, answer.headers, data
        finally:
            connection.close()

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body, **options):
        return self.request("POST", path, body, **options)

    def chat(self, text, **fields):
        """The response to one message; it must be one."""
        status, _, body = self.post("/v1/chat/completions", {"messages": [{"role": "user", "content": text}], **fields})
        assert status == 200, body
        return body

    def events(self, path, body, timeout=60):
        """The data of a stream's events, as they come; checks that it ends in [DONE]."""
        connection = self.connect(timeout)
        try:
            connection.request("POST", path, json.dumps({**body, "stream": True}), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            assert answer.getheader("Content-Type") == "text/event-stream"
            done = False
            for line in answer:
                line = line.decode().rstrip("\n")
                if not line or line.startswith(":"):
                    continue
                assert line.startswith("data: ") and not done, line
                done = line == "data: [DONE]"
                if not done:
                    yield json.loads(line[6:])
            assert done
        finally:
            connection.close()

    def metric(self, name):
        for line in self.get("/metrics")[2].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise KeyError(name)


def bin_dir():
    return os.path.abspath(sys.argv[1])
