"""What is wrong with an option, a server or a user: an error that says which and what to do, and holds no secret."""

import base64
import ssl

import pytest
from elasticsearch import AsyncElasticsearch, Elasticsearch

from satchel import BatchError, ConfigurationError, StoreError, StoreUnavailableError, ValueTooLargeError, open_store
from satchel.stores.elasticsearch import ElasticsearchStore
from tests.certificates import make_certificate
from tests.stores.elasticsearch.stand_in import NO_INDEX, bulk, error, item, standing_in

REFUSALS = [
    (error("security_exception", 401), ConfigurationError, "refuses the credentials.*api_key"),
    (error("security_exception", 403), StoreError, "privileges read, write and manage"),
    (error("media_type_header_exception", 400), ConfigurationError, "older major version.*elasticsearch<9"),
    (error("circuit_breaking_exception", 429), StoreUnavailableError, "overloaded"),
    (error("cluster_block_exception", 403), StoreError, "disk of the cluster is nearly full"),
    (error("master_not_discovered_exception", 503), StoreUnavailableError, "not available now"),
    ((504, {"message": "hunter2"}), StoreUnavailableError, "answer from it in time"),
    ((404, {"message": "hunter2"}), ConfigurationError, "not Elasticsearch"),
    (error("some_exception", 400), StoreError, r"status 400 \(some_exception\)"),
]


@pytest.mark.parametrize(("answer", "kind", "says"), REFUSALS, ids=[says for _, _, says in REFUSALS])
async def test_refusals(answer, kind, says):
    async with standing_in(answer) as server, ElasticsearchStore(server.url) as store:
        for call in (store.get("c", "k"), store.put("c", "k", 1), store.ping()):
            with pytest.raises(kind, match=says) as failed:
                await call
            assert type(failed.value) is kind
            assert "hunter2" not in str(failed.value)


ITEMS = [
    (item(403, "security_exception"), StoreError, "privileges"),
    (item(429, "cluster_block_exception"), StoreError, "disk of the cluster is nearly full"),
    (item(503, "unavailable_shards_exception"), StoreUnavailableError, "not available now"),
    (item(400, "strict_dynamic_mapping_exception"), ConfigurationError, "satchel's mapping"),
    (item(400, "document_parsing_exception"), ConfigurationError, "satchel's mapping"),
]


@pytest.mark.parametrize(("refused", "kind", "says"), ITEMS, ids=[says for _, _, says in ITEMS])
async def test_an_item_that_was_refused_fails_alone(refused, kind, says):
    async with standing_in(NO_INDEX, bulk(item(201), refused)) as server, ElasticsearchStore(server.url) as store:
        with pytest.raises(BatchError) as failed:
            await store.put_many("c", {"k": 1, "l": 2})
        assert list(failed.value.failed) == ["l"]
        assert type(failed.value.failed["l"]) is kind
        assert says in str(failed.value.failed["l"])
        assert "hunter2" not in str(failed.value)


async def test_an_item_that_an_overloaded_server_rejected_is_sent_again():
    rejected = bulk(item(429, "es_rejected_execution_exception"))
    async with standing_in(NO_INDEX, rejected, rejected, bulk(item(201))) as server:
        async with ElasticsearchStore(server.url) as store:
            assert await store.put_if_absent("c", "k", 1) is not None
        assert len(server.requests) == 4


async def test_a_request_that_is_too_large_says_which_setting():
    async with standing_in(NO_INDEX, (413, {})) as server, ElasticsearchStore(server.url) as store:
        with pytest.raises(ValueTooLargeError, match=r"http\.max_content_length"):
            await store.put("c", "k", 1)


async def test_a_value_past_the_limit_is_refused_before_it_is_sent():
    async with ElasticsearchStore("elasticsearch://127.0.0.1:1") as store:
        with pytest.raises(ValueTooLargeError, match="at most 33554432"):
            await store.put("c", "k", bytes(32 * 1024 * 1024 + 1))


@pytest.mark.parametrize(("seconds", "said"), [(None, ""), (2.5, "&timeout=2500ms")])
async def test_changes_are_posted_so_that_no_layer_sends_them_twice_or_waits_longer_than_asked(seconds, said):
    async with (
        standing_in(NO_INDEX, bulk(item(201))) as server,
        ElasticsearchStore(server.url, timeout=seconds) as store,
    ):
        await store.put("c", "k", 1)
        assert server.requests[-1].startswith(f"POST /satchel/_bulk?require_alias=true{said} ")


async def test_a_server_of_another_product_is_refused():
    async with standing_in((200, {"hello": "hunter2"}), header="") as server, ElasticsearchStore(server.url) as store:
        with pytest.raises(ConfigurationError, match="not Elasticsearch"):
            await store.get("c", "k")


async def test_credentials_are_sent_and_never_shown():
    async with standing_in(NO_INDEX) as server:
        place = server.url.removeprefix("elasticsearch://")
        for store, expected in (
            (ElasticsearchStore(server.url, api_key="hunter2"), "ApiKey hunter2"),
            (
                ElasticsearchStore(f"elasticsearch://us%40er:hunter2%2F@{place}/path"),
                "Basic " + base64.b64encode(b"us@er:hunter2/").decode(),
            ),
        ):
            async with store:
                await store.ping()
                assert f"authorization: {expected}" in server.requests[0].replace("Authorization", "authorization")
                assert "hunter2" not in f"{store!r} {store.describe()}"
            server.requests.clear()


@pytest.fixture
def certificate(tmp_path):
    """Make a certificate for this host that no authority has signed."""
    file, key = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file, key)
    return context, file


async def test_tls(certificate):
    context, file = certificate
    async with standing_in(NO_INDEX, context=context) as server:
        url = f"elasticsearch+https://127.0.0.1:{server.port}"
        for trusting in ({"ca_certs": file}, {"verify_certs": False}):
            async with ElasticsearchStore(url, **trusting) as store:
                await store.ping()
        async with ElasticsearchStore(url) as store:
            with pytest.raises(ConfigurationError, match="not trusted; give ca_certs="):
                await store.ping()
        async with ElasticsearchStore(f"elasticsearch://127.0.0.1:{server.port}") as store:
            with pytest.raises(StoreUnavailableError, match=r"elasticsearch\+https:// if the server speaks TLS"):
                await store.ping()


async def test_tls_to_a_server_that_speaks_none():
    async with standing_in(NO_INDEX) as server:
        store = ElasticsearchStore(f"elasticsearch+https://127.0.0.1:{server.port}")
        with pytest.raises(ConfigurationError, match="begins with elasticsearch://"):
            await store.ping()
        await store.aclose()


async def test_a_missing_file_of_certificates_is_named_as_what_is_wrong():
    async with ElasticsearchStore("elasticsearch+https://127.0.0.1:1", ca_certs="/nowhere/ca.pem") as store:
        with pytest.raises(ConfigurationError, match="ca_certs"):
            await store.ping()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "http://127.0.0.1"}, "url must be elasticsearch://"),
        ({"url": "elasticsearch://"}, "url must be elasticsearch://"),
        ({"url": "elasticsearch://host:port"}, "port of the URL"),
        ({"url": 5}, "url must be a str"),
        ({"api_key": ""}, "api_key must be"),
        ({"url": "elasticsearch://user:hunter2@host", "api_key": "hunter2"}, "excludes a username"),
        ({"ca_certs": "/ca.pem"}, "need TLS"),
        ({"verify_certs": False}, "need TLS"),
        ({"client": Elasticsearch("http://127.0.0.1:1")}, "must be an AsyncElasticsearch, got Elasticsearch"),
        *[({"index_prefix": name}, "index_prefix must be") for name in ("", "A", "_a", "a*", "a/b", "a" * 201, None)],
    ],
)
def test_options_that_are_wrong(options, says):
    with pytest.raises(ConfigurationError, match=says) as refused:
        ElasticsearchStore(**options)
    assert "hunter2" not in str(refused.value)


async def test_urls_are_opened():
    store = open_store(
        "elasticsearch+https://user:hunter2@example.org:9243/search?index_prefix=mine&verify_certs=false"
    )
    assert repr(store) == "ElasticsearchStore('https://example.org:9243/search', index_prefix='mine')"
    assert "hunter2" not in str(store.describe())
    assert repr(open_store("elasticsearch://[::1]")) == (
        "ElasticsearchStore('http://[::1]:9200', index_prefix='satchel')"
    )


async def test_a_client_excludes_what_it_knows_already():
    async with AsyncElasticsearch("http://127.0.0.1:1") as client:
        for options in ({"url": "elasticsearch://h"}, {"api_key": "k"}, {"ca_certs": "f"}, {"verify_certs": False}):
            with pytest.raises(ConfigurationError, match="client excludes"):
                ElasticsearchStore(client=client, **options)


async def test_a_client_of_the_callers_stays_open_and_ours_does_not():
    async with standing_in(NO_INDEX) as server:
        async with AsyncElasticsearch(f"http://127.0.0.1:{server.port}") as client:
            async with ElasticsearchStore(client=client) as store:
                await store.ping()
                assert repr(store) == "ElasticsearchStore(client=..., index_prefix='satchel')"
            assert client.transport.node_pool.get().session.closed is False
        async with ElasticsearchStore(server.url) as store:
            await store.ping()
            node = store._index._client.transport.node_pool.get()
            session = node.session
            assert session.closed is False
        assert session.closed is True
