"""`/metrics`: the counts of a `StatisticsWrapper` in the text format of Prometheus."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from ..errors import MissingExtraError, UnsupportedOperationError
from ..protocol import AsyncKeyValue
from ..wrappers.statistics import StatisticsWrapper

try:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    from ..integrations.prometheus import StatisticsCollector
except (ModuleNotFoundError, MissingExtraError):
    _is_installed = False
else:
    _is_installed = True


class Metrics:
    """Counts of the calls that a server makes to its store, if `prometheus_client` is installed.

    Args:
        store: The store.

    Attributes:
        store: The store to use: the counting one.
    """

    def __init__(self, store: AsyncKeyValue) -> None:
        self.store = store
        self._registry: Any = None
        if not _is_installed:
            return
        counting = store if isinstance(store, StatisticsWrapper) else StatisticsWrapper(store)
        self.store = counting
        self._registry = CollectorRegistry()
        self._registry.register(StatisticsCollector({"server": counting}))

    def answer(self) -> Response:
        """Return the counts.

        Raises:
            UnsupportedOperationError: `prometheus_client` is not installed.
        """
        if self._registry is None:
            raise UnsupportedOperationError(
                '/metrics needs prometheus_client, which is not installed: pip install "satchel[prometheus]"'
            )
        return Response(generate_latest(self._registry), 200, {"Content-Type": CONTENT_TYPE_LATEST})
