"""Any store for scripts and threads, without `await`.

```python
from satchel.sync import SyncStore

with SyncStore("memory://") as store:
    store.put("users", "ada", {"name": "Ada Lovelace"}, ttl=3600)
    store.get("users", "ada")
```
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_exports

if TYPE_CHECKING:
    from .collection import CollectionMapping, SyncCollection
    from .face import in_sync
    from .store import SyncStore

__all__ = ["CollectionMapping", "SyncCollection", "SyncStore", "in_sync"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"CollectionMapping": "collection", "SyncCollection": "collection", "SyncStore": "store", "in_sync": "face"},
)
