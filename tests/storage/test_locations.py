"""Buckets: their names as catalogs, and what their URIs mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from flight_server.errors import InvalidRequest, Unsupported
from flight_server.storage.locations import catalog_name, locate, locate_all


@pytest.mark.parametrize(
    ("bucket", "catalog"),
    [("primary", "primary"), ("profile:user", "profile_user"), ("A-b.C", "a_b_c"), ("x1", "x1")],
)
def test_bucket_names_become_catalogs(bucket: str, catalog: str) -> None:
    assert catalog_name(bucket) == catalog


@pytest.mark.parametrize("bucket", ["", " ", ":::", "_hidden", "a" * 64])
def test_names_that_are_none(bucket: str) -> None:
    with pytest.raises(InvalidRequest):
        catalog_name(bucket)


def test_files_by_uri_and_by_path(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    for uri in (folder, str(folder), folder.as_uri(), f"file://localhost{folder}"):
        assert (
            locate("b", str(uri).replace(" ", "%20") if "://" in str(uri) else uri).root == folder
        )


@pytest.mark.parametrize("uri", ["s3://b/x", "az://b/x", "gs://b", "abfss://b/x", "ftp://h/x"])
def test_other_storage_is_refused_by_name(uri: str) -> None:
    with pytest.raises(Unsupported, match=uri.split(":", maxsplit=1)[0]):
        locate("b", uri)


@pytest.mark.parametrize("uri", ["", "file://host/x", "a\0b"])
def test_what_is_no_location(uri: str) -> None:
    with pytest.raises(InvalidRequest):
        locate("b", uri)


def test_all_buckets_together(tmp_path: Path) -> None:
    assert list(locate_all({"primary": tmp_path, "p:u": tmp_path / "u"})) == ["primary", "p_u"]
    for buckets in (
        {},
        {"primary": tmp_path, "p:u": tmp_path / "a", "p_u": tmp_path / "b"},
        {"primary": tmp_path, "other": tmp_path},
    ):
        with pytest.raises(InvalidRequest):
            locate_all(buckets)


@pytest.mark.parametrize("uri", ["/data/a%20b", "file:///data/a%2520b"])
def test_a_folder_whose_name_looks_encoded_is_refused(uri: str) -> None:
    with pytest.raises(Unsupported):
        locate("primary", uri)
