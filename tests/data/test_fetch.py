"""Downloads from a server that cuts connections, sends other bytes, or packs what must not be unpacked."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from sap2.data import fetch
from sap2.errors import InputError


@dataclass
class Served:
    """A local server: what it has, how it fails, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: int | None = None  # bytes of an answer after which the connection is closed
    ranges: bool = True
    busy: int = 0  # answers of 503 before the first good one
    asked: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(monkeypatch) -> Iterator[Served]:
    served = Served()
    monkeypatch.setattr(fetch, "PAUSE", 0.0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self, body: bool = True):
            content = served.files.get(self.path)
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if served.ranges else 0
            if body:
                served.asked.append(self.headers.get("Range") or "all")
            if content is None or (body and served.busy > 0):
                served.busy -= content is not None
                self.send_error(404 if content is None else 503)
                return
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if body:
                self.wfile.write(content[start:][: served.cut_after])

        def do_HEAD(self):
            self.do_GET(body=False)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        served.url = f"http://127.0.0.1:{http.server_port}"
        yield served
        http.shutdown()


def packed(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def serve_part(server: Served, monkeypatch, part: str = "dev-clean", **members) -> bytes:
    noise = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(250))  # does not shrink
    content = packed({f"LibriSpeech/{part}/1/2/1-2.trans.txt": b"1-2-0 A\n", "LibriSpeech/README.TXT": noise} | members)
    server.files[f"/12/{part}.tar.gz"] = content
    monkeypatch.setitem(fetch.LIBRISPEECH_MD5, part, hashlib.md5(content).hexdigest())
    return content


def test_a_part_lands_where_the_reader_looks(server, monkeypatch, tmp_path, capsys):
    serve_part(server, monkeypatch)
    assert fetch.fetch_librispeech(tmp_path / "LS", ["dev-clean"], server.url) == [tmp_path / "LS" / "dev-clean"]
    assert (tmp_path / "LS" / "dev-clean" / "1" / "2" / "1-2.trans.txt").read_text() == "1-2-0 A\n"
    assert [path.name for path in (tmp_path / "LS").iterdir()] == ["dev-clean"]  # no archive, no README, no rest
    assert "needs about" in capsys.readouterr().err
    fetch.fetch_librispeech(tmp_path / "LS", ["dev-clean"], server.url)
    assert server.asked == ["all"]  # what is there is not fetched again


def test_a_cut_download_goes_on_where_it_was(server, monkeypatch, tmp_path):
    content = serve_part(server, monkeypatch)
    server.cut_after = 3000
    fetch.fetch_librispeech(tmp_path, ["dev-clean"], server.url)
    assert server.asked == ["all", *(f"bytes={done}-" for done in range(3000, len(content), 3000))]


def test_a_killed_command_goes_on_where_it_was(server, monkeypatch, tmp_path):
    content = serve_part(server, monkeypatch)
    (tmp_path / "dev-clean.tar.gz.partial").write_bytes(content[:5000])
    fetch.fetch_librispeech(tmp_path, ["dev-clean"], server.url)
    assert server.asked == ["bytes=5000-"]
    (tmp_path / "x.partial").write_bytes(content)
    server.files["/x"] = content
    assert fetch.get(fetch.Archive(f"{server.url}/x", None), tmp_path).read_bytes() == content


def test_a_server_without_ranges_sends_the_whole_file(server, monkeypatch, tmp_path):
    content = serve_part(server, monkeypatch)
    server.ranges = False
    (tmp_path / "dev-clean.tar.gz.partial").write_bytes(b"x" * 50)
    path = fetch.get(fetch.Archive(f"{server.url}/12/dev-clean.tar.gz", hashlib.md5(content).hexdigest()), tmp_path)
    assert path.read_bytes() == content


def test_a_busy_server_is_retried_and_a_silent_server_is_not(server, monkeypatch, tmp_path):
    content = serve_part(server, monkeypatch)
    archive = fetch.Archive(f"{server.url}/12/dev-clean.tar.gz", None)
    server.busy = 3
    assert fetch.get(archive, tmp_path).read_bytes() == content
    server.busy = 99
    (tmp_path / "dev-clean.tar.gz.partial").write_bytes(content[:70])
    with pytest.raises(
        InputError, match=r"503 .*; 70 bytes are kept in .*dev-clean.tar.gz.partial; run the command again"
    ):
        fetch.get(archive, tmp_path)


def test_other_bytes_than_published_are_deleted(server, monkeypatch, tmp_path):
    serve_part(server, monkeypatch)
    monkeypatch.setitem(fetch.LIBRISPEECH_MD5, "dev-clean", "0" * 32)
    with pytest.raises(InputError, match="its MD5 is [0-9a-f]{32}, expected 00000000.*the download was deleted"):
        fetch.fetch_librispeech(tmp_path, ["dev-clean"], server.url)
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_said_before_anything_is_fetched(server, monkeypatch, tmp_path):
    serve_part(server, monkeypatch)
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(InputError, match=r"needs about [\d,]+ bytes, 10 are free; choose another folder"):
        fetch.fetch_librispeech(tmp_path, ["dev-clean"], server.url)
    assert server.asked == []


def link(name: str, to: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, to
    return info


@pytest.mark.parametrize(
    "members",
    [
        {"../evil": b"x"},
        {"LibriSpeech/dev-clean/../../../evil": b"x"},
        {"LibriSpeech/dev-clean/out": link("LibriSpeech/dev-clean/out", "/etc")},
        {"LibriSpeech/dev-clean/up": link("LibriSpeech/dev-clean/up", "../../../..")},
    ],
)
def test_an_archive_that_reaches_out_is_refused_whole(server, monkeypatch, tmp_path, members):
    serve_part(server, monkeypatch, **members)
    with pytest.raises(InputError, match="dev-clean.tar.gz: cannot be unpacked"):
        fetch.fetch_librispeech(tmp_path / "LS", ["dev-clean"], server.url)
    assert [path.name for path in tmp_path.rglob("*")] == ["LS", "dev-clean.tar.gz"]


def test_broken_archives_and_wrong_names_say_what_is_wrong(server, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="no part dev-dirty; it has dev-clean, dev-other"):
        fetch.fetch_librispeech(tmp_path, ["dev-dirty"], server.url)
    with pytest.raises(InputError, match="the server answered 404"):
        fetch.fetch_librispeech(tmp_path, ["dev-clean"], server.url)
    (tmp_path / "cut.tar.gz").write_bytes(packed({"a": bytes(9000)})[:60])
    with pytest.raises(InputError, match="cut.tar.gz: cannot be unpacked"):
        fetch.unpack(tmp_path / "cut.tar.gz", tmp_path / "cut")
    with pytest.raises(InputError, match="cannot be reached"):
        fetch.fetch_librispeech(tmp_path, ["dev-clean"], "http://127.0.0.1:9")


def test_slidespeechs_related_files_come_whole(server, tmp_path):
    server.files["/related_files.tar.gz"] = packed({"test/text": b"a B\n", "test/keywords": b"a B\n"})
    fetch.fetch_slidespeech(tmp_path, f"{server.url}/related_files.tar.gz")
    assert sorted(path.name for path in (tmp_path / "related_files" / "test").iterdir()) == ["keywords", "text"]


def test_the_metadata_comes_through_the_hubs_library(monkeypatch, tmp_path):
    import huggingface_hub

    calls = {}
    info = SimpleNamespace(siblings=[SimpleNamespace(size=1000)])
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, name, **options: info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: calls.update(options, name=name))
    assert fetch.fetch_metadata(tmp_path / "meta") == [tmp_path / "meta"]
    assert (calls["name"], calls["repo_type"], calls["local_dir"]) == (
        "jymh/SAP2-ASR",
        "dataset",
        Path(tmp_path / "meta"),
    )
    info.siblings[0].size = 1 << 60
    with pytest.raises(InputError, match="are free"):
        fetch.fetch_metadata(tmp_path / "meta")


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_an_archive_with_a_wrong_checksum_leaves_nothing(tmp_path, place):
    """gzip's sum stands at the end, behind what a tar reader reads; of some damage zlib itself complains."""
    noise = b"".join(hashlib.sha256(n.to_bytes(2, "big")).digest() for n in range(4000))  # does not shrink
    content = bytearray(packed({"segments": noise}))
    at = int(place * len(content))
    content[at : at + 20] = bytes(20)
    archive = tmp_path / "related_files.tar.gz"
    archive.write_bytes(content)
    with pytest.raises(
        InputError, match=r"related_files.tar.gz: cannot be unpacked \(.*\); delete it and fetch it again"
    ):
        fetch.unpack(archive, tmp_path / "related_files")
    assert [path.name for path in tmp_path.iterdir()] == ["related_files.tar.gz"]
