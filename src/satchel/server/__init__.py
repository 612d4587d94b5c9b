"""A store over HTTP, for programs in any language: `create_app` returns an ASGI app (`docs/server.md`).

```python
from satchel import MemoryStore
from satchel.server import Token, create_app

app = create_app(MemoryStore(), tokens=[Token("a-token-that-nobody-guesses", prefix="public-", read_only=True)])
```
"""

from __future__ import annotations

from ..errors import missing_extra

try:
    from .app import ServerApp, create_app
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "starlette":
        raise
    raise missing_extra("satchel.server", "server", error) from error
from .access import LOOPBACK, Token
from .blobs import SignedBlobs

__all__ = ["LOOPBACK", "ServerApp", "SignedBlobs", "Token", "create_app"]
