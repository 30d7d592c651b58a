#!/usr/bin/env python3
"""m1-serve for days, in minutes: soak_test.py BIN_DIR [REQUESTS [SEED [ARTIFACT]]]. With an artifact of a smaller model than the tiny reasoner, on one
thread, a process answers some thousand samples a second; several, of different seeds, may run side by side.

Requests arrive at random on few slots, in streams and whole, with several samples, votes, stops and schemas; some hang up at any time, read slowly,
have too little time, or are none at all. What is answered in full is what the same request gets alone; afterwards nothing runs, no connection is
left, and memory is flat."""
import http.client
import json
import os
import random
import socket
import sys
import threading
import time

import server
from server import Server

BIN = server.bin_dir()
REQUESTS = int(sys.argv[2]) if len(sys.argv) > 2 else 400
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else 1
ARTIFACT = sys.argv[4] if len(sys.argv) > 4 else None
CLIENTS = 24
# A server that forgot as much as 1 KiB a request would be beyond this after 100,000; allocators' own caches for some dozens of threads are within it.
GROWTH = 24 << 20

SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": {
    "type": "object", "properties": {"a": {"type": "integer", "minimum": 0}, "b": {"enum": ["x", "y"]}}, "required": ["a", "b"], "additionalProperties": False}}}


def draw_bodies(rng, count):
    bodies = []
    for i in range(count):
        question = f"What is {rng.randrange(100)}+{rng.randrange(100)}?" + " Think of it again." * rng.randrange(0, 12)
        body = {"messages": [{"role": "user", "content": question}], "max_tokens": rng.choice([1, 2, 5, 9, 16, 30]), "temperature": 0}
        if rng.random() < 0.6:
            body.update(temperature=rng.choice([0.5, 1, 1.5]), seed=rng.randrange(1 << 30), n=rng.choice([1, 1, 2, 3, 6]))
        if rng.random() < 0.2:
            body.update(vote=rng.choice([True, {"probe_every": 8, "probe_on_end": True}]), max_tokens=rng.choice([20, 40]))
        elif rng.random() < 0.15:
            body.update(response_format=SCHEMA, max_tokens=40)
        if rng.random() < 0.2:
            body["stop"] = rng.choice(["1", " t", ["\n", "="]])
        if rng.random() < 0.2:
            body["top_k"] = 5
        if "response_format" not in body and rng.random() < 0.15:
            body["ignore_eos"] = True
        bodies.append(body)
    return bodies


def essence(answer):
    """What does not depend on what else runs."""
    choices = [(choice["message"].get("reasoning_content"), choice["message"].get("content") or "", choice["finish_reason"])
               for choice in sorted(answer["choices"], key=lambda choice: choice["index"])]
    return choices, answer["usage"]["completion_tokens"], answer.get("vote")


def joined(events):
    """The essence of a stream, from its events."""
    choices, usage, vote = {}, None, None
    for event in events:
        usage = event.get("usage") or usage
        vote = event.get("vote", vote)
        for choice in event["choices"]:
            parts = choices.setdefault(choice["index"], [None, "", None])
            delta = choice["delta"]
            if delta.get("reasoning_content") is not None:
                parts[0] = (parts[0] or "") + delta["reasoning_content"]
            parts[1] += delta.get("content") or ""
            parts[2] = choice["finish_reason"] or parts[2]
    return [tuple(choices[index]) for index in sorted(choices)], usage["completion_tokens"], vote


class Soak:
    def __init__(self, running, bodies, alone):
        self.running, self.bodies, self.alone = running, bodies, alone
        self.lock = threading.Lock()
        self.left, self.done, self.compared = REQUESTS, 0, 0
        self.counts, self.faults = {}, []
        self.early = None

    def take(self):
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def count(self, kind):
        with self.lock:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.done += 1
            if self.done == REQUESTS // 4:
                self.early = resident(self.running)

    def client(self, number):
        rng = random.Random(SEED * 1000 + number)
        connection = None
        try:
            while not self.faults and self.take():
                if rng.random() < 0.3:
                    time.sleep(rng.expovariate(200))
                if connection is None or rng.random() < 0.1:
                    if connection:
                        connection.close()
                    connection = self.running.connect(120)
                kind, keeps = self.one(connection, rng)
                if not keeps:
                    connection.close()
                    connection = None
                self.count(kind)
        except Exception as fault:  # a thread's end is told by the main one
            self.faults.append(f"client {number}: {type(fault).__name__}: {fault}")
        finally:
            if connection:
                connection.close()

    def post(self, connection, body):
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        return connection.getresponse()

    def one(self, connection, rng):
        """One request in one of its ways: its kind, and whether the connection is still good."""
        index = rng.randrange(len(self.bodies))
        body, alone = self.bodies[index], self.alone[index]
        way = rng.random()
        streams = rng.random() < 0.5
        if streams:
            body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        if way < 0.03:  # no request at all
            bad = rng.choice([b"{", b"[]", b'{"messages": 3}', b'{"prompt": "x", "n": -1}', b"\xff" * 50, b'{"messages": [], "what": 1}'])
            connection.request("POST", "/v1/chat/completions", bad, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            self.require(400 <= answer.status < 500, f"{bad}: status {answer.status}")
            return "refused", not answer.will_close
        if way < 0.06:  # a part of one
            data = json.dumps(body).encode()
            part = self.running.raw(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data)
                                    + data[:rng.randrange(len(data))])
            part.close()
            return "half sent", True
        if way < 0.16:  # hangs up: at once, or after some of the answer
            answer = self.hang_up(body, rng)
            return answer, True
        if way < 0.20:  # too little time
            timed = {**body, "time_budget": rng.choice([0.001, 0.01, 0.05]), "at_deadline": rng.choice(["drop", "drop" if "response_format" in body else "close"])}
            answer = self.post(connection, timed)
            data = answer.read()
            self.require(answer.status in (200, 429), f"status {answer.status}: {data[:200]}")
            return "budget", not answer.will_close
        answer = self.post(connection, body)
        if answer.status == 429:
            answer.read()
            time.sleep(0.05)
            return "turned away", not answer.will_close
        self.require(answer.status == 200, f"status {answer.status}: {answer.read()[:200] if answer.status != 200 else ''}")
        if streams:
            slow = rng.random() < 0.02
            got = joined(self.events(answer, slow))
        else:
            got = essence(json.loads(answer.read()))
        if got != alone:
            # The vote of a stream also tells of time.
            self.require(got[:2] == alone[:2] and tally(got[2]) == tally(alone[2]), f"{json.dumps(body)}:\n{got}\nalone:\n{alone}")
        with self.lock:
            self.compared += len(got[0])
        return "stream" if streams else "whole", not answer.will_close

    def hang_up(self, body, rng):
        connection = self.running.connect(120)
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        if rng.random() < 0.3:
            connection.sock.shutdown(rng.choice([socket.SHUT_WR, socket.SHUT_RDWR]))
        elif rng.random() < 0.7:
            connection.sock.settimeout(0.2)
            try:
                connection.sock.recv(rng.choice([1, 20, 400, 2000]))
            except socket.timeout:
                pass
        connection.sock.close()
        return "hung up"

    def events(self, answer, slow):
        for line in answer:
            if slow:
                time.sleep(0.01)
            line = line.decode().rstrip("\n")
            if line.startswith("data: ") and line != "data: [DONE]":
                yield json.loads(line[6:])

    def require(self, condition, message):
        if not condition:
            raise AssertionError(message)


def tally(vote):
    return vote and sorted((entry["answer"], entry["votes"]) for entry in vote["tally"])


def resident(running):
    with open(f"/proc/{running.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def main():
    artifact = ARTIFACT or server.tiny_reasoner(BIN)
    rng = random.Random(SEED)
    bodies = draw_bodies(rng, 80)
    first = Server(BIN, artifact, "--slots", "8", "--prefix-cache", "0", "--threads", "1")
    alone = []
    for body in bodies:
        status, _, answer = first.post("/v1/chat/completions", body)
        assert status == 200, answer
        alone.append(essence(answer))
    assert first.close() == 0
    running = Server(BIN, artifact, "--slots", "5", "--prefix-cache", "3", "--max-queue", "24", "--context", "700",
                     *(["--threads", "1"] if ARTIFACT else []))
    soak = Soak(running, bodies, alone)
    began = time.monotonic()
    clients = [threading.Thread(target=soak.client, args=(number,)) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    seconds = time.monotonic() - began
    assert not soak.faults, "\n".join(soak.faults)
    idle = lambda: all(running.metric(name) == 0 for name in ("m1_running_samples", "m1_waiting_samples", "m1_queued_requests"))
    assert until(idle), "samples are left"
    assert until(lambda: running.metric("m1_connections") == 1), "connections are left"
    late = resident(running)
    preempted = running.metric("m1_engine_preemptions_total")
    hits = running.metric("m1_prefix_hits_total")
    tokens = running.metric("m1_engine_generated_tokens_total")
    assert running.close() == 0, running.logged()[-2000:]
    for line in running.logged().splitlines():
        json.loads(line)
    print(f"seed {SEED}: {soak.done} requests in {seconds:.0f} s: {soak.counts}; {soak.compared} samples as alone; {tokens:.0f} tokens, {hits:.0f} prefixes reused, {preempted:.0f} "
          f"preemptions; resident memory {soak.early / 1e6:.1f} MB after a quarter, {late / 1e6:.1f} MB at the end")
    assert late - soak.early < GROWTH, "memory grows"


main()
