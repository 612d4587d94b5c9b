"""What can be wrong around a DynamoDB table: each has an error that says what to do, and shows no secret."""

import socket
from typing import Any

import pytest
from aiobotocore.session import get_session

from satchel import BatchError, ConfigurationError, StoreError, StoreTimeoutError, StoreUnavailableError, open_store
from satchel.stores.dynamodb import DynamoDBStore
from tests.stores.dynamodb.table import ANY_CREDENTIALS, SECRET, Endpoint, local_store, new_name, raw_client, refusal

pytestmark = pytest.mark.server("dynamodb")


def everything_said(error: BaseException | None) -> str:
    said = ""
    while error is not None:
        said += f"{error} {error!r} {vars(error)}"
        error = error.__cause__
    return said


async def error_of(store: DynamoDBStore) -> Any:
    """Return what the first read and write both raise, after looking for secrets and values in it."""
    async with store:
        with pytest.raises((StoreError, ConfigurationError)) as reading:
            await store.get("c", "k")
        with pytest.raises((StoreError, ConfigurationError)) as writing:
            await store.put("c", "k", "hunter2")
    assert type(reading.value) is type(writing.value)
    for error in (reading.value, writing.value):
        assert "hunter2" not in everything_said(error)
        assert SECRET not in everything_said(error)
    return reading.value


async def make_table(name: str, **key: tuple[str, str]) -> None:
    async with raw_client() as client:
        await client.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": attribute, "KeyType": kind} for attribute, (kind, _) in key.items()],
            AttributeDefinitions=[{"AttributeName": each, "AttributeType": type_} for each, (_, type_) in key.items()],
            BillingMode="PAY_PER_REQUEST",
        )


async def test_a_missing_table() -> None:
    error = await error_of(local_store("no-such-table"))
    assert "no table no-such-table in region eu-west-1" in str(error)
    assert "create_table=True" in str(error)
    assert not error.retryable


@pytest.mark.parametrize(
    "key",
    [
        {"pk": ("HASH", "S")},
        {"collection": ("HASH", "S")},
        {"collection": ("HASH", "S"), "key": ("RANGE", "N")},
        {"collection": ("HASH", "B"), "key": ("RANGE", "S")},
        {"key": ("HASH", "S"), "collection": ("RANGE", "S")},
    ],
    ids=str,
)
@pytest.mark.parametrize("create_table", [False, True])
async def test_a_table_with_another_key(key: dict[str, tuple[str, str]], *, create_table: bool) -> None:
    name = new_name()
    await make_table(name, **key)
    error = await error_of(local_store(name, create_table=create_table))
    assert "collection (HASH, S), key (RANGE, S)" in str(error)
    assert f"has the key {next(iter(key))}" in str(error)


async def test_another_key_of_a_table_that_may_not_be_described() -> None:
    name = new_name()
    await make_table(name, pk=("HASH", "S"))

    def answer(operation: str, _: object) -> Any:
        return refusal("AccessDeniedException") if operation == "DescribeTable" else None

    async with Endpoint(answer) as endpoint:
        error = await error_of(local_store(name, endpoint_url=endpoint.url))
    assert "has another key" in str(error)


async def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    where = {"aws_access_key_id": None, "aws_secret_access_key": None}
    error = await error_of(local_store("some-table", **where))
    assert "no AWS credentials" in str(error)
    assert "aws_access_key_id" in str(error)


async def test_no_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    error = await error_of(DynamoDBStore("some-table", aws_access_key_id="a", aws_secret_access_key=SECRET))
    assert "give region_name" in str(error)


async def test_a_profile_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "AWS_PROFILE" in str(await error_of(DynamoDBStore("some-table", region_name="eu-west-1")))


async def test_an_unreachable_endpoint() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        error = await error_of(local_store("some-table", endpoint_url=url, aws_secret_access_key=SECRET))
    assert type(error) is StoreUnavailableError
    assert url in str(error)
    assert "region_name, endpoint_url" in str(error)


async def test_an_endpoint_that_is_something_else() -> None:
    async with Endpoint(lambda *_: (200, [])) as endpoint:  # type: ignore[arg-type]  # a list is no answer
        error = await error_of(local_store("some-table", endpoint_url=endpoint.url))
    assert isinstance(error, StoreError)


# What the local server accepts or cannot do: the body that AWS documents, from an HTTP server, through the real client.

DOCUMENTED = {
    "UnrecognizedClientException": ("The security token included in the request is invalid.", "credentials"),
    "InvalidSignatureException": ("The request signature we calculated does not match", "credentials"),
    "MissingAuthenticationTokenException": ("Missing Authentication Token", "credentials"),
    "ExpiredTokenException": ("The security token included in the request is expired", "have expired: get new ones"),
    "AccessDeniedException": ("User: arn:aws:iam::1:user/x is not authorized", "do not permit dynamodb:GetItem"),
    "ResourceNotFoundException": ("Requested resource not found", "check table_name and region_name"),
    "ProvisionedThroughputExceededException": ("The level of configured provisioned throughput", "throttles"),
    "ThrottlingException": ("Rate of requests exceeds the allowed throughput.", "throttles"),
    "RequestLimitExceeded": ("Throughput exceeds the current throughput limit", "throttles"),
    "SomethingNewException": ("what nobody knew", "refused GetItem on table some-table (SomethingNewException)"),
}


@pytest.mark.parametrize("code", DOCUMENTED)
async def test_an_answer_that_aws_documents_is_translated(code: str) -> None:
    message, expected = DOCUMENTED[code]
    denied = refusal(code, f"{message} {SECRET} hunter2")
    ready = {"Table": {"TableStatus": "ACTIVE", **KEY}}
    async with (
        Endpoint(lambda operation, _: (200, ready) if operation == "DescribeTable" else denied) as endpoint,
        local_store("some-table", endpoint_url=endpoint.url) as store,
    ):
        failed = store._map_error(await _raised(store))
    assert failed is not None
    assert expected in str(failed)
    assert SECRET not in str(failed)
    assert getattr(failed, "retryable", False) is ("throttles" in expected)


async def _raised(store: DynamoDBStore) -> Exception:
    """Return what the driver raises for a read."""
    await store._engine.lifecycle.open()
    with pytest.raises(Exception) as raised:  # of any type: the code in it is what is tested
        await store._client.get_item(TableName="some-table", Key={"collection": {"S": "c"}, "key": {"S": "k"}})
    return raised.value


KEY = {
    "KeySchema": [
        {"AttributeName": "collection", "KeyType": "HASH"},
        {"AttributeName": "key", "KeyType": "RANGE"},
    ],
    "AttributeDefinitions": [
        {"AttributeName": "collection", "AttributeType": "S"},
        {"AttributeName": "key", "AttributeType": "S"},
    ],
}


async def test_an_old_signature_is_translated_from_the_documented_answer() -> None:
    said = refusal("InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than 2026")
    async with Endpoint(lambda *_: said) as endpoint:
        error = await error_of(local_store("some-table", endpoint_url=endpoint.url))
    assert "set the clock of this host" in str(error)


async def test_a_region_that_is_not_the_endpoints_is_translated_from_the_documented_answer() -> None:
    said = refusal("InvalidSignatureException", "Credential should be scoped to a valid region, not 'eu-west-1'.")
    async with Endpoint(lambda *_: said) as endpoint:
        error = await error_of(local_store("some-table", endpoint_url=endpoint.url))
    assert "another region: check region_name and endpoint_url" in str(error)


async def test_credentials_that_expire_while_the_store_is_open_fail_every_verb_by_name() -> None:
    """An HTTP server stands for AWS: it answers as documented for each operation but the look at the table."""
    expired = refusal("ExpiredTokenException", f"The security token included in the request is expired {SECRET}")
    ready = 200, {"Table": {"TableStatus": "ACTIVE", **KEY}}
    async with (
        Endpoint(lambda operation, _: ready if operation == "DescribeTable" else expired) as endpoint,
        local_store("some-table", endpoint_url=endpoint.url) as store,
    ):
        for call in (
            lambda: store.get("c", "k"),
            lambda: store.put("c", "k", "hunter2"),
            lambda: store.delete("c", "k"),
            lambda: store.put_if_absent("c", "k", "hunter2"),
            lambda: store.compare_and_put("c", "k", "hunter2", version="v"),
            lambda: store.compare_and_delete("c", "k", version="v"),
            lambda: store.touch("c", "k", ttl=1),
            lambda: anext(store.keys("c")),
            lambda: anext(store.collections()),
            lambda: store.destroy_collection("c"),
            store.destroy,
            store.cull,
            store.ping,
        ):
            with pytest.raises(StoreError, match="have expired: get new ones") as failed:
                await call()
            assert not failed.value.retryable
            assert SECRET not in str(failed.value)
        with pytest.raises(BatchError, match="have expired: get new ones") as batch:
            await store.put_many("c", {"k": 1, "l": 2})
        assert sorted(batch.value.failed) == ["k", "l"]


async def test_a_failing_service_is_translated_from_the_documented_answer() -> None:
    said = 500, {"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": ""}
    async with Endpoint(lambda *_: said) as endpoint:
        error = await error_of(local_store("some-table", endpoint_url=endpoint.url))
    assert type(error) is StoreUnavailableError
    assert "may or may not have happened" in str(error)


async def test_a_service_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        error = await error_of(local_store("some-table", endpoint_url=url, timeout=0.3))
    assert type(error) is StoreTimeoutError


# Before anything is sent.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table_name": "a/b"}, "table_name"),
        ({"table_name": ""}, "table_name"),
        ({"table_name": "ab"}, "table_name"),
        ({"table_name": None}, "table_name"),
        ({"endpoint_url": "localhost:8000"}, "endpoint_url"),
        ({"aws_access_key_id": "a"}, "both or not at all"),
        ({"aws_secret_access_key": SECRET}, "both or not at all"),
        ({"aws_session_token": SECRET}, "aws_session_token belongs"),
        ({"client": "a text"}, "aiobotocore client"),
        ({"timeout": 0}, "timeout"),
        ({"create_table": "yes"}, "create_table"),
        ({"consistent_reads": 1}, "consistent_reads"),
    ],
    ids=str,
)
def test_an_option_that_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        DynamoDBStore(**{"table_name": "some-table", **options})
    assert SECRET not in str(refused.value)


async def test_a_client_excludes_what_makes_one_and_must_be_entered_and_for_dynamodb() -> None:
    async with raw_client() as client:
        with pytest.raises(ConfigurationError, match="client excludes region_name"):
            DynamoDBStore("some-table", client=client, region_name="eu-west-1")
    not_entered = raw_client()
    with pytest.raises(ConfigurationError, match="entered"):
        DynamoDBStore("some-table", client=not_entered)
    async with not_entered:
        pass  # or a coroutine in it would never be awaited
    async with get_session().create_client("sts", **ANY_CREDENTIALS) as other:
        with pytest.raises(ConfigurationError, match="for DynamoDB"):
            DynamoDBStore("some-table", client=other)


async def test_a_closed_client_is_an_error_that_says_so() -> None:
    async with raw_client() as client:
        store = DynamoDBStore(new_name(), client=client, create_table=True)
        await store.put("c", "k", 1)
    with pytest.raises(StoreError, match="must stay open"):
        await store.get("c", "k")
    await store.aclose()


def test_secrets_are_never_shown() -> None:
    store = open_store(
        f"dynamodb://some-table?region=eu-west-1&aws_access_key_id=AKIA{SECRET}&aws_secret_access_key={SECRET}"
        f"&aws_session_token={SECRET}"
    )
    assert SECRET not in f"{store!r} {store.describe()} {store.describe()!r}"
    assert repr(store) == "DynamoDBStore('some-table')"
