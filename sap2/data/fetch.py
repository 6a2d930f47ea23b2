"""Download published corpora: downloads resume, are checked, and are unpacked safely.

Disk space is estimated before a download. Archives are deleted after unpacking; parts that exist are not downloaded
again.
"""

import hashlib
import http.client
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sap2.errors import InputError
from sap2.files import atomic_dir
from sap2.progress import track

__all__ = [
    "LIBRISPEECH_MD5",
    "MINI_LIBRISPEECH",
    "Archive",
    "fetch_librispeech",
    "fetch_metadata",
    "fetch_slidespeech",
    "get",
    "unpack",
]

OPENSLR = "https://www.openslr.org/resources"
# https://www.openslr.org/resources/12/md5sum.txt, and 31/md5sum.txt for Mini LibriSpeech
LIBRISPEECH_MD5 = {
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
    "train-clean-5": "5df7d4e78065366204ca6845bb08f490",
    "dev-clean-2": "6d7ab67ac6a1d2c993d050e16d61080d",
}
MINI_LIBRISPEECH = ("train-clean-5", "dev-clean-2")  # OpenSLR 31; the other parts are OpenSLR 12
SLIDESPEECH_RELATED = "https://speech-lab-share-data.oss-cn-shanghai.aliyuncs.com/SlideSpeech/related_files.tar.gz"
METADATA = "jymh/SAP2-ASR"
BLOCK = 1 << 20  # bytes
TRIES = 5  # consecutive connections without progress before giving up
PAUSE = 2.0  # seconds before the second try; doubled each time
TIMEOUT = 60  # seconds without a byte


@dataclass(frozen=True)
class Archive:
    """A file to download and unpack."""

    url: str
    md5: str | None  # None: not published; only the archive's own checksums are checked


def fetch_librispeech(root: Path, parts: Sequence[str], base: str = OPENSLR) -> list[Path]:
    """Fetch parts of LibriSpeech (OpenSLR 12) or Mini LibriSpeech (OpenSLR 31) into `root`/PART.

    Raises: InputError: an unknown part, too little space, or a download that fails or does not match the published MD5.
    """
    if not base.startswith(("https://", "http://")):
        raise InputError(f"--mirror {base}: expected an http:// or https:// address such as {OPENSLR}")
    unknown = [part for part in parts if part not in LIBRISPEECH_MD5]
    if unknown:
        raise InputError(f"LibriSpeech has no part {', '.join(unknown)}; it has {', '.join(LIBRISPEECH_MD5)}")
    wanted = {
        part: Archive(f"{base}/{31 if part in MINI_LIBRISPEECH else 12}/{part}.tar.gz", LIBRISPEECH_MD5[part])
        for part in parts
        if not (root / part).is_dir()
    }
    _check_space(root, list(wanted.values()))
    for part, archive in wanted.items():
        unpack(get(archive, root), root / part, inner=f"LibriSpeech/{part}")
    return [root / part for part in parts]


def fetch_slidespeech(root: Path, url: str = SLIDESPEECH_RELATED) -> list[Path]:
    """Fetch SlideSpeech's segments, transcripts, keywords and OCR into `root`/related_files.

    The recordings must be downloaded by hand from https://www.openslr.org/144.
    Raises: InputError: as `fetch_librispeech`.
    """
    target = root / "related_files"
    if not target.is_dir():
        archive = Archive(url, None)
        _check_space(root, [archive])
        unpack(get(archive, root), target)
    return [target]


def fetch_metadata(root: Path, revision: str | None = None) -> list[Path]:
    """Fetch the public ms-swift metadata by huggingface_hub, which resumes and checks downloads.

    Raises: InputError: the hub cannot be reached, or the files do not fit on the disk.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        files = HfApi().dataset_info(METADATA, revision=revision, files_metadata=True).siblings or []
        _check_free(root, sum(file.size or 0 for file in files))
        snapshot_download(METADATA, repo_type="dataset", revision=revision, local_dir=root)
    except (HfHubHTTPError, OSError) as error:
        raise InputError(f"{METADATA}: cannot be fetched from the hub ({str(error).splitlines()[0]})") from error
    return [root]


def get(archive: Archive, folder: Path) -> Path:
    """Download a file into `folder`, resuming an earlier try; return its path.

    Raises: InputError: the server refuses or does not respond, or the MD5 differs from the published one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / archive.url.rsplit("/", 1)[1]
    partial = target.with_name(target.name + ".partial")
    failures = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            if _receive(archive.url, partial, before):
                break
            fault = "the connection was closed early"
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise InputError(f"{archive.url}: the server answered {error.code} {error.reason}") from error
            fault = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            fault = str(error) or type(error).__name__
        after = partial.stat().st_size if partial.exists() else 0
        failures = 0 if after > before else failures + 1
        if failures == TRIES:
            raise InputError(
                f"{archive.url}: {fault}; {after:,} bytes are kept in {partial}; run the command again to resume"
            )
        time.sleep(PAUSE * 2**failures if failures else 0)
    if archive.md5 and (digest := _md5(partial)) != archive.md5:
        partial.unlink()
        raise InputError(
            f"{archive.url}: its MD5 is {digest}, expected {archive.md5}; the download was deleted, try again or "
            "use another mirror (--mirror)"
        )
    partial.replace(target)
    return target


def _receive(url: str, partial: Path, have: int) -> bool:
    """Append the missing bytes to `partial`; return whether the file is now complete."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # range not satisfiable: the file is complete
            return True
        raise
    with response:
        resumed = response.status == 206
        start = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with partial.open("ab" if resumed else "wb") as file:
            blocks = iter(lambda: response.read(BLOCK), b"")
            for block in track(blocks, total=length and -(-int(length) // BLOCK), label=f"{partial.stem} (MB)"):
                file.write(block)
    return total is None or partial.stat().st_size >= total


def unpack(archive: Path, target: Path, inner: str | None = None) -> None:
    """Unpack a tar archive into the folder `target` atomically, then delete the archive.

    Args:
        inner: The folder within the archive that becomes `target`; None = all of it.
    Raises: InputError: the archive is broken, lacks `inner`, does not fit on the disk, or holds a member that would be
    written elsewhere (an absolute path, dots, a link, a device).
    """
    try:
        with tarfile.open(archive) as tar, atomic_dir(target) as partial:
            scratch = partial / "unpacked"
            free = shutil.disk_usage(partial).free
            unpacked = 0
            for member in tar:
                unpacked += member.size
                if unpacked > free:
                    raise InputError(
                        f"{archive}: unpacks to more than the {free:,} bytes that are free in {target.parent}"
                    )
                _extract(tar, member, scratch)
            while tar.fileobj.read(BLOCK):  # read to the end, where gzip has its checksum
                pass
            kept = scratch / inner if inner else scratch
            if not kept.is_dir():
                raise InputError(f"{archive}: holds no folder {inner}")
            for path in kept.iterdir():
                path.rename(partial / path.name)
            shutil.rmtree(scratch)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise InputError(f"{archive}: cannot be unpacked ({error}); delete it and fetch it again") from error
    archive.unlink()


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Extract a file or folder; `TarFile.extract` has filters only since Python 3.10.12 and 3.11.4."""
    target = (folder / member.name).resolve()
    if not (member.isfile() or member.isdir()) or not target.is_relative_to(folder.resolve()):
        raise tarfile.TarError(f"{member.name!r} is a link or a device, or would be written elsewhere")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    content = tar.extractfile(member)
    if content is None:
        raise tarfile.TarError(f"{member.name!r} has no content")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(content, file, BLOCK)


def _check_space(root: Path, archives: list[Archive]) -> None:
    """Check that archives and their content fit; FLAC and text compress little, so both are about the same size."""
    sizes = [size for archive in archives if (size := _size(archive.url)) is not None]
    if len(sizes) < len(archives):
        print("fetch: the server sends no sizes; disk space is checked while unpacking", file=sys.stderr)
    elif archives:
        _check_free(root, sum(sizes) + max(sizes))


def _check_free(root: Path, needed: int) -> None:
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    print(f"fetch: needs about {needed / 1e9:.2f} GB; {root} has {free / 1e9:.2f} GB free", file=sys.stderr)
    if needed > free:
        raise InputError(f"{root}: needs about {needed:,} bytes, {free:,} are free; choose another folder with --to")


def _size(url: str) -> int | None:
    """Return a file's size in bytes as the server reports it, or None."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT) as response:
            length = response.headers.get("Content-Length")
            return int(length) if length else None
    except urllib.error.HTTPError as error:
        if error.code in (403, 405, 501):  # the server does not support HEAD
            return None
        raise InputError(f"{url}: the server answered {error.code} {error.reason}") from error
    except OSError as error:
        raise InputError(f"{url}: cannot be reached ({error}); check the network, or name a --mirror") from error


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # the checksum that OpenSLR publishes
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
