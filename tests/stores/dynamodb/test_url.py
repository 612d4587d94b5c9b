"""The URLs of a DynamoDB table, and what a store does with a client of the caller's."""

import pytest

from satchel import ConfigurationError, open_store
from satchel.stores.dynamodb import DynamoDBStore
from tests.servers import server_url
from tests.stores.dynamodb.table import new_name, raw_client

pytestmark = pytest.mark.server("dynamodb")


@pytest.mark.parametrize("region", ["region=eu-west-1", "region_name=eu-west-1"])
async def test_a_url_opens(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_ID", "local")
    monkeypatch.setenv("SOME_SECRET", "local-secret")
    name = new_name()
    url = (
        f"dynamodb://{name}?{region}&endpoint_url={server_url('dynamodb')}&create_table=true"
        "&aws_access_key_id_env=SOME_ID&aws_secret_access_key_env=SOME_SECRET&consistent_reads=false&timeout=5"
    )
    async with open_store(url) as store:
        await store.put("c", "k", [1])
    description = store.describe()
    assert str(description).startswith(f"dynamodb://{name}?region_name=eu-west-1&")
    async with open_store(description) as store:
        assert await store.get("c", "k") == [1]


def test_the_region_is_given_once() -> None:
    with pytest.raises(ConfigurationError, match="'region_name' is given twice"):
        open_store("dynamodb://some-table?region=eu-west-1&region_name=eu-west-1")
    with pytest.raises(ConfigurationError, match="did you mean 'region_name'"):
        open_store("dynamodb://some-table?regionname=eu-west-1")


def test_an_arn_names_a_table() -> None:
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/some-table"
    assert repr(DynamoDBStore(arn)) == f"DynamoDBStore({arn!r})"


async def test_the_callers_client_stays_open() -> None:
    name = new_name()
    async with raw_client() as client:
        async with DynamoDBStore(name, client=client, create_table=True) as store:
            await store.put("c", "k", 1)
        answer = await client.get_item(TableName=name, Key={"collection": {"S": "c"}, "key": {"S": "k"}})
        assert answer["Item"]["value"] == {"S": "1"}
