"""Provenance of a run: commit, uncommitted changes and digests."""

import hashlib
import subprocess

import pytest

from sap2.tracking.provenance import adapter_digest, code_state, file_digests


@pytest.fixture
def repository(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "code.py").write_text("x = 1\n")
    (tmp_path / "dvc.lock").write_text("1\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return tmp_path, git("rev-parse", "HEAD")


def test_clean_repository_gives_its_commit(repository):
    folder, commit = repository
    assert code_state(folder) == {"commit": commit, "dirty": "false"}


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_changed_or_new_code_is_dirty(repository, name):
    folder, commit = repository
    (folder / name).write_text("x = 2\n")
    assert code_state(folder) == {"commit": commit, "dirty": "true"}


def test_what_the_pipeline_writes_is_not_dirt(repository):
    folder, commit = repository
    (folder / "dvc.lock").write_text("2\n")
    (folder / "reports").mkdir()
    (folder / "reports" / "metrics.json").write_text("{}")
    assert code_state(folder) == {"commit": commit, "dirty": "false"}


def test_dirt_counts_from_a_subfolder_too(repository):
    folder, commit = repository
    (folder / "deep").mkdir()
    (folder / "code.py").write_text("x = 2\n")
    assert code_state(folder / "deep") == {"commit": commit, "dirty": "true"}


def test_outside_a_repository_the_image_says_its_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("SAP2_REVISION", raising=False)
    assert code_state(tmp_path) == {"commit": "unknown", "dirty": "unknown"}
    monkeypatch.setenv("SAP2_REVISION", "abc123")
    assert code_state(tmp_path) == {"commit": "abc123", "dirty": "unknown"}
    monkeypatch.setenv("PATH", "")
    assert code_state(tmp_path) == {"commit": "abc123", "dirty": "unknown"}


def test_digests_are_those_of_the_content(tmp_path):
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    expected = hashlib.sha256(b"weights").hexdigest()
    assert adapter_digest(tmp_path) == expected


def test_a_folder_without_weights_has_no_digest(tmp_path):
    """That of the pruner which PC and JPI do not have."""
    assert adapter_digest(tmp_path) is None


def test_files_are_named_without_the_machine(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "test.jsonl"
    path.write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    assert file_digests([path]) == {"data/test.jsonl": digest}
    monkeypatch.chdir(tmp_path)
    assert file_digests([path]) == file_digests([path.relative_to(tmp_path)]) == {"data/test.jsonl": digest}
    monkeypatch.chdir(tmp_path / "data")
    assert file_digests([path]) == {"test.jsonl": digest}
