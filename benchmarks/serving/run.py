"""Throughput, latency and memory of `sap2 serve`, with and without micro-batches.

    OMP_NUM_THREADS=1 python benchmarks/serving/run.py --json benchmarks/serving/records/serving.json

Starts the server as a process, with and without micro-batches, and lets 1, 4 and 16 clients send the manifest's
recordings, each with its list, without pauses. Prints a table in Markdown.
"""

import argparse
import http.client
import itertools
import json
import os
import platform
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid
from datetime import date
from pathlib import Path

import psutil

from sap2.files import atomic_file
from sap2.manifest import audio_path, read_manifest
from sap2.tracking.provenance import code_state

CLIENTS = (1, 4, 16)


def body(audio: bytes, fields: dict[str, str], name: str = "a.flac") -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    parts = [(f'name="file"; filename="{name}"', audio)]
    parts += [(f'name="{field}"', value.encode()) for field, value in fields.items()]
    form = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts
    )
    return form + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


class Server:
    """`sap2 serve` as a process."""

    def __init__(self, model: str, max_batch: int, *options: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "sap2", "serve", "--model", model, "--port", str(self.port)]
        self.process = subprocess.Popen([*command, "--max-batch", str(max_batch), *options], stderr=subprocess.DEVNULL)
        while True:
            try:
                if self.get("/readyz") == 200:
                    return
            except OSError:
                pass  # the server does not listen yet
            if self.process.poll() is not None:
                raise SystemExit("the server did not start; try the same with `sap2 serve`")
            time.sleep(0.2)

    def get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        return connection.getresponse().status

    def memory(self) -> float:
        """Return the resident memory in MB."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def load(server: Server, requests: list[tuple[bytes, str]], clients: int, count: int) -> tuple[float, list[float]]:
    """Send `count` requests; return the total seconds, and the latency of each request.

    Raises: SystemExit: a request failed, so the other figures would mislead.
    """
    refused: list[str] = []
    turns, lock, latencies = itertools.islice(itertools.cycle(requests), count), threading.Lock(), []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        while True:
            with lock:
                request = next(turns, None)
            if request is None:
                return
            started = time.perf_counter()
            connection.request("POST", "/v1/audio/transcriptions", request[0], {"Content-Type": request[1]})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                return refused.append(f"{answer.status}: {content.decode()}")
            latencies.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise SystemExit(refused[0])
    return time.perf_counter() - started, latencies


def grown(server: Server, requests: list[tuple[bytes, str]], count: int) -> list[dict[str, int]]:
    """Measure the server's memory before, during and after `count` requests of 16 clients."""
    quarter, seen = count // 4, []
    for done in range(0, count + 1, quarter):
        seen.append({"requests": done, "mb": round(server.memory())})
        print(f"\nmemory after {done} more requests: {seen[-1]['mb']} MB", flush=True)
        if done + quarter <= count:
            load(server, requests, 16, quarter)
    return seen


def origin() -> dict[str, str | int | None]:
    """Return date, command, code version and machine of the measurement."""
    threads = os.environ.get("OMP_NUM_THREADS")
    command = (f"OMP_NUM_THREADS={threads} " if threads else "") + shlex.join(["python", *sys.argv])
    machine = {"cores": os.cpu_count(), "machine": platform.machine()}
    return {"date": date.today().isoformat(), "command": command, **code_state(), **machine}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models", help="as `sap2 serve --model` takes it")
    parser.add_argument("--manifest", type=Path, default=Path("data/lists/test.jsonl"))
    parser.add_argument("--requests", type=int, default=48, help="requests per number of clients")
    parser.add_argument(
        "--memory", type=int, default=2000, metavar="N", help="requests of the memory measurement; 0 = none"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    utterances = read_manifest(given.manifest)
    requests = [
        body(audio_path(row, given.manifest).read_bytes(), {"keywords": ", ".join(row.keywords)}) for row in utterances
    ]
    seconds = statistics.fmean(row.duration for row in utterances)
    figures: list[dict[str, float]] = []
    memory: list[dict[str, int]] = []
    print(f"{len(requests)} recordings of {seconds:.2f} s on average\n")
    print("| clients | micro-batches | recordings / s | p50, ms | p95, ms | × real time |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |", flush=True)
    for max_batch in (1, 16):
        server = Server(given.model, max_batch)
        try:
            load(server, requests, 4, 16)  # warm
            for clients in CLIENTS:
                taken, latencies = load(server, requests, clients, given.requests)
                p50, p95 = (statistics.quantiles(latencies, n=100)[at - 1] * 1000 for at in (50, 95))
                rate = given.requests / taken
                row = {"clients": clients, "max_batch": max_batch, "rate": rate, "p50": p50, "p95": p95}
                figures.append({name: round(value, 1) for name, value in row.items()})
                name = "off" if max_batch == 1 else f"up to {max_batch}"
                print(f"| {clients} | {name} | {rate:.1f} | {p50:.0f} | {p95:.0f} | {rate * seconds:.1f} |", flush=True)
            if max_batch > 1 and given.memory:
                memory = grown(server, requests, given.memory)
        finally:
            server.stop()
    if given.json:
        measured = {"recordings": len(requests), "seconds_on_average": round(seconds, 2), "requests": given.requests}
        with atomic_file(given.json) as partial:
            record = {**origin(), **measured, "rows": figures, "memory": memory}
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
