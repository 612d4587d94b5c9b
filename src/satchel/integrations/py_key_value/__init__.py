"""Satchel and py-key-value, both ways round: a satchel store for its users, and one of its stores as a satchel store.

```python
from satchel import MemoryStore
from satchel.integrations.py_key_value import as_py_key_value

store = MemoryStore()
storage = as_py_key_value(store)  # whatever takes an AsyncKeyValue of py-key-value takes this
await storage.put(key="ada", value={"name": "Ada"}, collection="users", ttl=3600)
assert await storage.get(key="ada", collection="users") == {"name": "Ada"}
assert await store.get("users", "ada") == {"name": "Ada"}
```
"""

from __future__ import annotations

from ...errors import missing_extra

try:
    from .adapter import PyKeyValueAdapter, as_py_key_value
    from .store import PyKeyValueStore, from_py_key_value
except ModuleNotFoundError as error:
    raise missing_extra("satchel.integrations.py_key_value", "py-key-value", error) from error

__all__ = ["PyKeyValueAdapter", "PyKeyValueStore", "as_py_key_value", "from_py_key_value"]
