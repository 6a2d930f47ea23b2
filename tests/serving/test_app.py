"""The HTTP interface: OpenAI's format, limits, and behaviour under load."""

import asyncio
import http.client
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest
import soundfile
from transcription_server import Model, Source, running
from videos import recording as recorded

from sap2.serving.limits import Limits

LIMITS = Limits(max_bytes=2 << 20, max_duration=30, max_keywords=100, max_files=3)


@pytest.fixture(scope="module")
def server():
    with running(limits=LIMITS) as server:
        yield server


def client(server, key="none"):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=key, max_retries=0)


# ---- responses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", ["json", "text", "verbose_json", "srt", "vtt"])
def test_the_official_client_gets_every_format(server, recording, chosen):
    answer = client(server).audio.transcriptions.create(
        file=("talk.wav", recording), model="m", prompt="Meyer, Zorvan", response_format=chosen
    )
    text = "first 1.0 s Meyer Zorvan"
    if chosen == "json":
        assert answer.text == text
    elif chosen == "text":
        assert answer == text + "\n"
    elif chosen == "verbose_json":
        assert (answer.text, answer.duration, answer.language) == (text, 1.0, "und")
        assert [(segment.start, segment.end, segment.text) for segment in answer.segments][0] == (
            0.0,
            1.5,
            "<first> & more",
        )
        assert answer.keywords == {
            "found": ["Meyer", "Zorvan"], "predicted": ["Meyer", "Zorvan"], "scores": {"Meyer": -0.5, "Zorvan": -0.5}
        }  # fmt: skip
        assert answer.model == "models:/m/1"
    elif chosen == "srt":
        assert answer == (
            "1\n00:00:00,000 --> 00:00:01,500\n<first> & more\n\n2\n00:00:02,000 --> 01:01:01,250\nlast\n"
        )
    else:
        assert answer == (
            "WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.500\n&lt;first&gt; &amp; more\n\n"
            "2\n00:00:02.000 --> 01:01:01.250\nlast\n"
        )


def test_keywords_of_fields_files_and_prompt_are_merged(server, recording):
    status, headers, answer = server.post(
        ("file", recording, "a.wav"), ("keywords", '"Meyer", zorvan'),
        ("keywords", "# names\nZoë # host\nmeyer\n", "list.txt"),
        ("prompt", "New York"),
    )  # fmt: skip
    assert (status, headers["x-sap2-model"]) == (200, "models:/m/1")
    assert answer == {"text": "first 1.0 s Meyer zorvan Zoë New York"}


@pytest.mark.parametrize(("ending", "codec"), [("mov", "alac"), ("mkv", "pcm_s16le")])
def test_recordings_in_containers_have_the_same_limits(server, tmp_path, ending, codec):
    made = tmp_path / f"a.{ending}"
    content = recorded(made, np.zeros(16_000), codec).read_bytes()
    assert server.post(("file", content, made.name))[2] == {"text": "first 1.0 s"}
    content = recorded(made, np.zeros(32 * 16_000), codec).read_bytes()
    status, _, answer = server.post(("file", content, made.name))
    assert status == 413 and "expected at most 30 s" in answer["error"]["message"]


def test_a_damaged_file_of_a_batch_does_not_affect_the_others(server, recording):
    status, _, answer = server.post(
        ("file", recording, "a.wav"), ("file", b"no audio", "b.wav"), ("file", recording, "c.wav"),
        ("keywords", "Meyer"), path="/v1/audio/transcriptions/batch",
    )  # fmt: skip
    assert status == 200
    first, broken, last = answer["results"]
    assert first == {"file": "a.wav", "text": "first 1.0 s Meyer"} and last == first | {"file": "c.wav"}
    assert broken["error"]["message"].startswith("b.wav: cannot be read as audio")


def test_models_and_documentation_are_served(server):
    assert [model.id for model in client(server).models.list()] == ["models:/m@champion"]
    status, _, content = server.ask("GET", "/openapi.json")
    form = json.loads(content)["paths"]["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]
    assert status == 200 and "keywords" in form["multipart/form-data"]["schema"]["properties"]
    assert server.ask("GET", "/docs")[0] == 200


# ---- bad requests ------------------------------------------------------------------------------------------------


def flac(seconds: float) -> bytes:
    """Encode silence as FLAC, which takes almost no bytes."""
    out = io.BytesIO()
    soundfile.write(out, np.zeros(int(16_000 * seconds), dtype="int16"), 16_000, format="FLAC")
    return out.getvalue()


GOOD = object()  # a placeholder for a good recording
BAD = {
    "no file": ([("model", "m")], 400, 'field "file" is missing'),
    "file as text": ([("file", "hello")], 400, 'field "file" is text'),
    "0 bytes": ([("file", b"", "a.wav")], 400, "a.wav: the file is empty"),
    "wrong type": ([("file", b"%PDF-1.7 hello", "a.pdf")], 400, "a.pdf: cannot be read as audio"),
    "half a video": ([("file", b"\0\0\0\x18ftypmp42", "a.mp4")], 400, "a.mp4: truncated: holds 4 of 16 bytes"),
    "no header": ([("file", b"\1\2" * 900, "x.raw")], 400, "x.raw: has no header with its sample rate"),
    "truncated": ([("file", b"RIFF\xff\xff\0\0WAVE", "a.wav")], 400, "a.wav: truncated"),
    "hours in kilobytes": ([("file", flac(3600), "a.flac")], 413, "a.flac: lasts 3600.0 s, expected at most 30 s"),
    "too short": ([("file", flac(0.05), "a.flac")], 400, "a.flac: lasts 0.050 s, expected at least 0.1 s"),
    "many words": ([("file", GOOD, "a.wav"), ("keywords", ",".join(f"w{n}" for n in range(100_000)))], 400,
                   "a list of 100000 keywords, expected at most 100"),
    "many words in a file": ([("file", GOOD, "a.wav"), ("keywords", "\n".join(f"w{n}" for n in range(101)), "l.txt")],
                             400, "a list of 101 keywords"),
    "marker": ([("file", GOOD, "a.wav"), ("keywords", "Meyer, a<|im_end|>b")], 400, "the marker <|im_end|> inside"),
    "marker in prompt": ([("file", GOOD, "a.wav"), ("prompt", "<|endofcontext|>")], 400, "prompt: the marker"),
    "control character": ([("file", GOOD, "a.wav"), ("keywords", "a\x07b")], 400, "a control character"),
    "path in the name": ([("file", b"x", "../../etc/passwd")], 400, "../../etc/passwd: cannot be read as audio"),
    "control characters in the name": ([("file", b"x", "a\x1b[2Jb.wav")], 400, "a�[2Jb.wav: cannot be read"),
    "UTF-8 of a field": ([("file", GOOD, "a.wav"), ("keywords", b"Zo\xeb")], 400, "keywords is not UTF-8"),
    "UTF-8 of a list": ([("file", GOOD, "a.wav"), ("keywords", b"Zo\xeb", "l.txt")], 400, "keywords is not UTF-8"),
    "format": ([("file", GOOD, "a.wav"), ("response_format", "xml")], 400, "response_format is 'xml', expected one of"),
    "model": ([("file", GOOD, "a.wav"), ("model", "gpt-9")], 404, "there is no model 'gpt-9'"),
    "stream": ([("file", GOOD, "a.wav"), ("stream", "true")], 400, "stream is true"),
    "temperature": ([("file", GOOD, "a.wav"), ("temperature", "0.7")], 400, "temperature is 0.7, expected 0"),
    "words": ([("file", GOOD, "a.wav"), ("timestamp_granularities[]", "word")], 400, "not of words"),
    "unknown field": ([("file", GOOD, "a.wav"), ("keyword", "x")], 400, "unknown field 'keyword'; known: file"),
    "two files": ([("file", GOOD, "a.wav"), ("file", GOOD, "b.wav")], 400, "for several use /v1/audio/transcr"),
    "too large": ([("file", b"x" * (3 << 20), "a.wav")], 413, "expected at most 2097152"),
}  # fmt: skip


@pytest.mark.bad_input
@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_gets_an_error_and_the_server_continues(server, recording, case):
    parts, status, message = BAD[case]
    filled = [(name, recording if content is GOOD else content, *rest) for name, content, *rest in parts]
    got, headers, answer = server.post(*filled)
    assert got == status, answer
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["type"] == "invalid_request_error" and message in answer["error"]["message"]
    assert "/tmp" not in answer["error"]["message"], "a path of the server must not be disclosed"
    assert server.post(("file", recording, "a.wav"))[0] == 200


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "application/json"}, b"{}", 415),
        ({}, b"", 415),
        ({"Content-Type": "multipart/form-data"}, b"x", 400),
        ({"Content-Type": "multipart/form-data; boundary=b"}, b"no such boundary", 400),
    ],
)
def test_a_body_that_is_not_a_form_is_rejected(server, headers, body, status):
    got, _, content = server.ask("POST", "/v1/audio/transcriptions", body, headers)
    assert got == status and json.loads(content)["error"]["message"]


def test_a_gigabyte_is_rejected_whether_declared_or_not(server, recording):
    import socket

    for header, sent in ((b"Content-Length: 1073741824", b""), (b"Transfer-Encoding: chunked", b"100000\r\n")):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(
                b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n" + header + b"\r\n\r\n"
            )
            if sent:
                start = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
                connection.sendall(b"%x\r\n" % len(start) + start + b"\r\n")
                try:
                    for _ in range(4):
                        connection.sendall(sent + b"x" * 0x100000 + b"\r\n")
                except OSError:
                    pass  # rejected while sending, which is fine
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert server.post(("file", recording, "a.wav"))[0] == 200


def test_unknown_paths_and_methods_are_json_errors(server):
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/v1/audio/transcriptions", 405)):
        got, _, content = server.ask(method, path)
        assert got == status and json.loads(content)["error"]["type"] == "invalid_request_error"


# ---- authentication ----------------------------------------------------------------------------------------------


def test_requests_need_a_key_but_probes_do_not(start, recording):
    with start(keys=["secret", "other"]) as server:
        with pytest.raises(openai.AuthenticationError, match="no valid API key"):
            client(server, "wrong").audio.transcriptions.create(file=("a.wav", recording), model="m")
        for key in ("secret", "other"):
            assert client(server, key).audio.transcriptions.create(file=("a.wav", recording), model="m").text
        assert server.post(("file", recording, "a.wav"))[0] == 401
        assert [server.ask("GET", path)[0] for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3


# ---- load --------------------------------------------------------------------------------------------------------


def test_concurrent_requests_are_recognised_in_batches(start, recording):
    model = Model(seconds=0.1)
    with start(model) as server, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: server.post(("file", recording, "a"), ("keywords", f"word{n}")), range(12)))
    assert [(status, answer["text"]) for status, _, answer in answers] == [
        (200, f"first 1.0 s word{n}") for n in range(12)
    ]
    assert sum(model.batches) == 12 and len(model.batches) <= 6


def test_a_full_queue_is_a_429_with_retry_after(start, recording):
    with start(Model(seconds=0.4), Limits(queue=2, max_batch=1)) as server, ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: server.post(("file", recording, "a.wav")), range(10)))
        refused = [(headers, answer) for status, headers, answer in answers if status == 429]
        assert {status for status, _, _ in answers} == {200, 429}
        assert 6 <= len(refused) <= 8
        for headers, answer in refused:
            assert int(headers["retry-after"]) >= 1 and answer["error"]["code"] == "rate_limit_exceeded"
        assert server.post(("file", recording, "a.wav"))[0] == 200


def test_a_batch_that_exceeds_the_queue_is_rejected_as_a_unit(start, recording):
    with start(limits=Limits(queue=2)) as server:
        parts = [("file", recording, f"{n}.wav") for n in range(3)]
        assert server.post(*parts, path="/v1/audio/transcriptions/batch")[0] == 429


def test_an_incomplete_body_is_a_408(start, recording):
    import socket

    with start(limits=Limits(timeout=0.5)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(
                b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            )
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.status == 408 and b"not complete within 0.5 s" in answer.read()
        assert server.post(("file", recording, "a.wav"))[0] == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_recogniser_makes_the_server_unhealthy(start, recording):
    """Kubernetes then restarts it."""

    class Ends(Model):
        def recognise(self, audio, keywords):
            raise SystemExit(1)

    with start(Ends(), Limits(timeout=0.5)) as server:
        assert [server.ask("GET", path)[0] for path in ("/healthz", "/readyz")] == [200, 200]
        assert server.post(("file", recording, "a.wav"))[0] == 504
        for path in ("/healthz", "/readyz"):
            status, _, content = server.ask("GET", path)
            assert status == 503 and b"the recogniser has stopped" in content
        status, _, answer = server.post(("file", recording, "a.wav"))
        assert status == 503 and "the recogniser has stopped" in answer["error"]["message"]


def test_a_timeout_is_a_504_and_is_not_computed(start, recording):
    model = Model(seconds=1.4)
    with start(model, Limits(timeout=2.0, max_batch=1)) as server, ThreadPoolExecutor(4) as pool:
        started = time.monotonic()
        answers = list(pool.map(lambda _: server.post(("file", recording, "a.wav")), range(4)))
        assert time.monotonic() - started < 6
        statuses = sorted(status for status, _, _ in answers)
        assert statuses[0] == 200 and statuses.count(504) >= 2
        time.sleep(1.0)
        assert len(model.batches) <= 3, "requests that timed out must not be computed"
        assert server.post(("file", recording, "a.wav"))[0] == 200


def test_a_failed_recording_does_not_affect_its_batch(start, recording):
    model = Model(seconds=0.05, fails_at=32_000)
    with start(model) as server, ThreadPoolExecutor(6) as pool:
        files = [recording if n != 3 else flac(2) for n in range(6)]
        answers = list(pool.map(lambda file: server.post(("file", file, "a")), files))
        assert [status for status, _, _ in answers] == [200, 200, 200, 500, 200, 200]
        assert answers[3][2]["error"]["type"] == "server_error" and "memory" not in str(answers[3][2])


def test_a_new_champion_is_loaded_without_a_lost_request(start, recording):
    with start(Model("first", 0.02), Limits(queue=200)) as server:
        server.source.models[2] = Model("second", 0.02)
        stop, answers = threading.Event(), []

        def ask():
            while not stop.is_set():
                status, headers, answer = server.post(("file", recording, "a.wav"))
                answers.append((status, headers.get("x-sap2-model"), answer.get("text")))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        server.source.version = 2
        time.sleep(0.7)
        stop.set()
        for thread in threads:
            thread.join()
        assert {status for status, _, _ in answers} == {200}
        assert {answer[1:] for answer in answers} == {("models:/m/1", "first 1.0 s"), ("models:/m/2", "second 1.0 s")}
        assert answers[-1][1] == "models:/m/2"
        assert b"sap2_model_switches_total 1.0" in server.ask("GET", "/metrics")[2]


def test_an_unavailable_registry_does_not_stop_the_server(start, recording):
    with start() as server:
        server.source.broken = True
        time.sleep(0.3)
        assert server.post(("file", recording, "a.wav"))[0] == 200
        shown = server.ask("GET", "/metrics")[2].decode()
        assert float(shown.split("\nsap2_model_failures_total ")[1].split()[0]) >= 1


def test_a_stopping_server_finishes_requests_in_progress(start, recording):
    with start(Model(seconds=0.5)) as server, ThreadPoolExecutor(3) as pool:
        begun = [pool.submit(server.post, ("file", recording, "a.wav")) for _ in range(3)]
        time.sleep(0.2)
        server.handle.should_exit = True
        assert [future.result()[0] for future in begun] == [200] * 3


def test_metrics_count_requests_recordings_and_keywords(start, recording):
    with start() as server:
        server.post(("file", recording, "a.wav"), ("keywords", "Meyer, Zorvan"))
        server.post(("model", "m"))
        shown = server.ask("GET", "/metrics")[2].decode()
    for line in (
        'sap2_requests_total{path="/v1/audio/transcriptions",status="200"} 1.0',
        'sap2_requests_total{path="/v1/audio/transcriptions",status="400"} 1.0',
        "sap2_audio_seconds_total 1.0",
        "sap2_keywords_listed_total 2.0",
        "sap2_keywords_found_total 2.0",
        'sap2_model{uri="models:/m/1"} 1.0',
        "sap2_queue_recordings 0.0",
    ):
        assert line in shown.splitlines()


def test_while_the_model_loads_the_server_is_alive_but_unready(recording):
    from sap2.serving.app import create_app

    app = create_app(Source(Model()), LIMITS)  # its lifespan has not begun, so no model is loaded
    routes = {route.path: route.endpoint for route in app.routes}
    assert asyncio.run(routes["/healthz"]()) == {"status": "ok"}
    answer = asyncio.run(routes["/readyz"]())
    assert answer.status_code == 503 and json.loads(answer.body)["status"] == "the model is being loaded"


@pytest.mark.slow  # two thousand requests
def test_memory_is_flat_over_two_thousand_requests(start, recording):
    import psutil

    def megabytes():
        return psutil.Process().memory_info().rss / 1e6

    with start() as server, ThreadPoolExecutor(8) as pool:

        def ask(number):
            # Each fourth request is rejected: its data must not be retained either.
            parts = [("file", recording if number % 4 else b"no audio", "a.wav"), ("keywords", f"word{number}")]
            return server.post(*parts)[0]

        list(pool.map(ask, range(400)))
        before = megabytes()
        statuses = list(pool.map(ask, range(2000)))
        assert statuses.count(200) == 1500 and statuses.count(400) == 500
        assert megabytes() - before < 20, "a request's recording takes 32 kB: retained, all would take 64 MB"
