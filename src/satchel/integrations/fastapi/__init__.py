"""A store in a FastAPI application: opened with it, injected into its endpoints, replaced in its tests.

```python
from typing import Annotated

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from satchel import Collection, MemoryStore
from satchel.integrations.fastapi import collection, readiness_router, store_lifespan

class User(BaseModel):
    name: str

Users = Annotated[Collection[User], collection("users", model=User, ttl=3600)]

app = FastAPI(lifespan=store_lifespan(MemoryStore))
app.include_router(readiness_router())

@app.get("/users/{key}")
async def read_user(key: str, users: Users) -> User:
    user = await users.get(key)
    if user is None:
        raise HTTPException(404)
    return user
```
"""

from ...errors import MissingExtraError

try:
    import fastapi as _fastapi  # noqa: F401  # the modules below need it
except ImportError as error:
    raise MissingExtraError('satchel.integrations.fastapi needs FastAPI: pip install "satchel[fastapi]"') from error

from .blobs import blob_response, save_upload
from .changes import change_stream
from .rate_limits import RateLimitMiddleware, client_address, rate_limit
from .session import CurrentSession, get_session
from .store import (
    Store,
    application_store,
    collection,
    get_store,
    override_store,
    readiness_router,
    store_lifespan,
)

__all__ = [
    "CurrentSession",
    "RateLimitMiddleware",
    "Store",
    "application_store",
    "blob_response",
    "change_stream",
    "client_address",
    "collection",
    "get_session",
    "get_store",
    "override_store",
    "rate_limit",
    "readiness_router",
    "save_upload",
    "store_lifespan",
]
