"""What an object store is made of: URLs, clients, options."""

from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore, S3Store

from satchel import Capability, ConfigurationError, open_store
from satchel.stores.objectstore import ObjectStore

EVERYTHING = ~Capability.WATCH & ~Capability.NONE


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/some/prefix/", "gs://bucket/p", "az://container/p"])
def test_urls_of_every_service_open_and_describe_themselves(url: str) -> None:
    store = open_store(url)
    assert isinstance(store, ObjectStore)
    assert str(store.describe()) == url
    assert store.capabilities == EVERYTHING
    assert repr(open_store(store.describe())) == repr(store)


@pytest.mark.parametrize(
    ("url", "root"),
    [("s3://b", "satchel"), ("s3://b/", "satchel"), ("s3://b/a/b/", "a/b"), ("s3://b?prefix=a/b", "a/b")],
)
def test_the_prefix_is_of_the_url_or_an_option(url: str, root: str) -> None:
    assert repr(open_store(url)) == f"ObjectStore('s3://b', prefix={root!r})"


def test_options_of_a_url_are_those_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_VARIABLE", "hidden-secret")
    store = open_store(
        "s3://b?endpoint=http://127.0.0.1:1&region=eu-west-1&access_key_id=hidden-id"
        "&secret_access_key_env=SECRET_VARIABLE&virtual_hosted_style_request=false&timeout=2"
    )
    shown = f"{store!r} {store.describe()}"
    assert "hidden-" not in shown
    assert "region=eu-west-1" in shown


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "give a url"),
        ({"url": "s3://"}, "url must be"),
        ({"url": "s3:bucket"}, "url must be"),
        ({"url": "ftp://bucket"}, "url must be"),
        ({"url": "s3://user@bucket"}, "url must be"),
        ({"url": "s3://bucket--use1-az4--x-s3"}, "directory bucket"),
        ({"url": "s3://b", "client": MemoryStore()}, "client excludes url"),
        ({"client": MemoryStore(), "region": "eu-west-1"}, "client excludes region"),
        ({"client": object()}, "client must be"),
        ({"client": LocalStore()}, "client must be"),
        ({"client": S3Store("b--use1-az4--x-s3", region="us-east-1")}, "directory bucket"),
        ({"url": "s3://b", "access_key_id": "x"}, "both or not at all"),
        ({"url": "s3://b", "endpoint": "no-url"}, "endpoint must be https://host"),
        ({"url": "s3://b", "endpoint": "http://user:hidden-secret@host"}, "endpoint must be https://host"),
        ({"url": "gs://b", "endpoint": "http://x"}, "endpoint is an option of s3:// alone"),
        ({"url": "az://b", "region": "x"}, "region is an option of s3:// alone"),
        ({"url": "s3://b/p", "prefix": "q"}, "prefix is given twice"),
        ({"url": "s3://b", "timeout": 0}, "timeout"),
    ],
)
def test_wrong_options_are_refused_by_name(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as refusal:
        ObjectStore(**options)
    assert "hidden-" not in str(refusal.value)


@pytest.mark.parametrize("prefix", ["", "/", "a//b", ".", "..", "a/../b", ".a", "a%2fb", "a b", "é", "a\n", "a" * 501])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        ObjectStore("s3://b", prefix=prefix)


async def test_what_the_driver_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    store = open_store("az://container")
    with pytest.raises(ConfigurationError, match="obstore makes no client for az://container"):
        await store.ping()


async def test_a_client_that_was_given_stays_usable(tmp_path: Path) -> None:
    client = MemoryStore()
    async with ObjectStore(client=client, prefix="mine") as store:
        await store.put("c", "k", 1)
    async with ObjectStore(client=client, prefix="mine") as again:
        assert await again.get("c", "k") == 1
    assert [meta["path"] for meta in client.list().collect()] == ["mine/c/k"]
