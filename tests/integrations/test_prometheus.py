import subprocess
import sys
import threading

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from satchel import ConfigurationError, InvalidKeyError, MemoryStore, StoreUnavailableError
from satchel.integrations.prometheus import StatisticsCollector
from satchel.testing import FlakyStore
from satchel.wrappers import StatisticsWrapper


def registry_of(**stores):
    registry = CollectorRegistry()
    registry.register(StatisticsCollector(stores))
    return registry


def value(registry, name, **labels):
    return registry.get_sample_value(name, {"store": "main", "collection": "c", **labels})


async def test_calls_hits_misses_errors_and_bytes():
    store = StatisticsWrapper(FlakyStore())
    await store.put_many("c", {"a": b"12345", "b": None})
    for key in ("a", "b", "absent"):
        await store.get("c", key)
    store.inner.fail_next()
    with pytest.raises(StoreUnavailableError):
        await store.get("c", "a")
    registry = registry_of(main=store)
    found = {
        name: value(registry, f"satchel_{name}_total", operation="get") for name in ("hits", "misses", "value_bytes")
    }
    assert found == {"hits": 2, "misses": 1, "value_bytes": 10}  # of two values; the first of them was measured
    assert value(registry, "satchel_operations_total", operation="get", outcome="ok") == 3
    assert value(registry, "satchel_operations_total", operation="get", outcome="error") == 1
    assert value(registry, "satchel_operations_total", operation="put_many", outcome="error") == 0
    assert value(registry, "satchel_hits_total", operation="put_many") is None


async def test_durations_are_a_histogram_that_adds_up():
    store = StatisticsWrapper(FlakyStore(latency=0.002))
    for _ in range(5):
        await store.get("c", "k")
    registry = registry_of(main=store)
    counted = store.snapshot()["c"]["get"]
    name = "satchel_operation_duration_seconds"
    assert value(registry, f"{name}_count", operation="get") == 5
    assert value(registry, f"{name}_sum", operation="get") == counted.seconds
    (family,) = [family for family in registry.collect() if family.name == name]
    buckets = [(sample.labels["le"], sample.value) for sample in family.samples if sample.name.endswith("_bucket")]
    bounds = [float(bound) for bound, _ in buckets]
    assert bounds == sorted(bounds)
    assert bounds[0] == 0.000_064
    assert bounds[-1] == float("inf")
    counts = [count for _, count in buckets]
    assert counts == sorted(counts)
    assert counts[-1] == 5
    for bound, count in buckets[:-1]:
        assert count == sum(number for below, number in counted.latencies.items() if below <= float(bound))
    assert dict(buckets)["0.001024"] == 0


async def test_several_stores_share_one_collector():
    main, cache = StatisticsWrapper(MemoryStore()), StatisticsWrapper(MemoryStore())
    await main.put("c", "k", 1)
    await cache.put("c", "k", 1)
    await cache.put("c", "k", 1)
    registry = registry_of(main=main, cache=cache)
    for store, calls in (("main", 1), ("cache", 2)):
        labels = {"store": store, "collection": "c", "operation": "put", "outcome": "ok"}
        assert registry.get_sample_value("satchel_operations_total", labels) == calls
    text = generate_latest(registry).decode()
    assert text.count("# TYPE satchel_operations_total counter") == 1
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(StatisticsCollector({"other": main}))


@pytest.mark.parametrize("generate", [generate_latest, generate_openmetrics])
async def test_the_text_is_well_formed_and_holds_no_key(generate):
    store = StatisticsWrapper(MemoryStore(), max_collections=4)
    names = ['new\nline "quoted" \\', "ünïcode 🎒"]
    for name in names:
        await store.put(name, "ada@example.org", "a value")
    for wrong in ("\ud800", ""):
        with pytest.raises(InvalidKeyError):
            await store.get(wrong, "k")
    for name in ("x", "y", "z"):
        await store.get(name, "k")
    await store.ping()
    assert [key async for key in store.keys("x")] == []
    text = generate(registry_of(main=store)).decode()
    assert "ada" not in text
    assert "a value" not in text
    if generate is generate_latest:
        families = {family.name: family for family in text_string_to_metric_families(text)}
        collections = {sample.labels["collection"] for sample in families["satchel_operations"].samples}
        assert collections == {*names, "\\ud800", "x", ""}  # further ones and calls about none are counted together
        assert families["satchel_operation_duration_seconds"].type == "histogram"


async def test_counters_never_go_down_while_they_are_not_reset():
    store = StatisticsWrapper(MemoryStore())
    registry = registry_of(main=store)
    seen = []
    for number in range(130):
        await store.put("c", "k", b"x" * (1000 if number == 0 else 1))
        seen.append(value(registry, "satchel_value_bytes_total", operation="put"))
    assert seen == sorted(seen)
    assert seen[0] == 1000
    store.reset()
    await store.put("c", "k", b"x")
    assert value(registry, "satchel_value_bytes_total", operation="put") == 1


async def test_a_thread_may_collect_while_collections_are_added():
    store = StatisticsWrapper(MemoryStore(), max_collections=100_000)
    registry = registry_of(main=store)
    failures, ended = [], threading.Event()

    def collect():
        try:
            while not ended.is_set():
                generate_latest(registry)
        except RuntimeError as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for number in range(1500):
            await store.exists(str(number), "k")
    finally:
        ended.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert failures == []


@pytest.mark.parametrize("store", [MemoryStore(), None, "memory://"])
def test_what_does_not_count_is_refused(store):
    with pytest.raises(ConfigurationError, match="'main' must be a StatisticsWrapper"):
        StatisticsCollector({"main": store})


def test_a_store_without_a_name_is_refused():
    for name in (5, None, b"main"):
        with pytest.raises(ConfigurationError, match="the name of a store must be a str"):
            StatisticsCollector({name: StatisticsWrapper(MemoryStore())})
    with pytest.raises(ConfigurationError, match="stores must be a mapping of names to stores, got StatisticsWrapper"):
        StatisticsCollector(StatisticsWrapper(MemoryStore()))


MISSING = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "prometheus_client":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from satchel import MissingExtraError
try:
    import satchel.integrations.prometheus
except MissingExtraError as error:
    print(error)
"""


def test_without_the_client_it_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=True)
    assert done.stdout == (
        'StatisticsCollector needs prometheus_client, which is not installed: pip install "satchel[prometheus]"\n'
    )


async def test_a_store_may_have_any_text_as_its_name():
    store = StatisticsWrapper(MemoryStore())
    await store.put("c", "k", 1)
    registry = CollectorRegistry()
    registry.register(StatisticsCollector({'"\n\ud800': store}))
    labels = {"store": '"\n\\ud800', "collection": "c", "operation": "put", "outcome": "ok"}
    assert registry.get_sample_value("satchel_operations_total", labels) == 1
    assert b"ud800" in generate_latest(registry)
