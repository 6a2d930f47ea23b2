"""A base from the hub records its commit, so that a registered model can refer to it instead of copying it."""

import json

import huggingface_hub
import pytest

from sap2 import hub
from sap2.errors import ModelError


def snapshot(name, *, revision, local_dir, allow_patterns):
    """Fake `snapshot_download`, with the files that huggingface_hub writes to a folder."""
    if name == "gone/base":
        raise OSError("no route to host\nmore")
    if local_dir is None:
        return f"/cache/{name}/{revision}"
    noted = local_dir / ".cache" / "huggingface" / "download"
    noted.mkdir(parents=True)
    (noted / "config.json.metadata").write_text("0123abc\netag\n1.0\n")
    (local_dir / "config.json").write_text("{}")
    return str(local_dir)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)


def test_a_downloaded_base_records_its_resolved_commit(tmp_path):
    hub.fetch("some/base", "main", tmp_path)
    assert json.loads((tmp_path / "hub.json").read_text()) == {"id": "some/base", "revision": "0123abc"}
    assert not (tmp_path / ".cache").exists()
    assert str(hub.fetch_named(tmp_path / "hub.json")) == "/cache/some/base/0123abc"


def test_a_failed_download_names_the_alternatives(tmp_path):
    with pytest.raises(ModelError, match=r"base.path 'gone/base': neither .* \(no route to host\); give \"embedded\""):
        hub.fetch("gone/base", None, tmp_path)
    (tmp_path / "hub.json").write_text('{"id": "gone/base", "revision": "1"}')
    with pytest.raises(ModelError, match="register with tracking.copy_base: true"):
        hub.fetch_named(tmp_path / "hub.json")


def test_a_folder_that_names_a_base_resolves_to_its_download(tmp_path):
    (tmp_path / "hub.json").write_text('{"id": "some/base", "revision": "0123abc"}')
    assert str(hub.present(tmp_path)) == "/cache/some/base/0123abc"
    (tmp_path / "config.json").write_text("{}")
    assert hub.present(tmp_path) == tmp_path
