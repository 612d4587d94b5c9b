"""An application that several workers of uvicorn run, and that limits requests over the store of the environment."""

import os

from fastapi import FastAPI, Header

from satchel import open_store
from satchel.integrations.fastapi import rate_limit, store_lifespan

LIMIT, PER, BURST = 30, 3600, 20


async def client_name(client: str = Header()) -> str:
    return client


app = FastAPI(lifespan=store_lifespan(lambda: open_store(os.environ["SATCHEL_URL"])))


@app.get("/", dependencies=[rate_limit("api", limit=LIMIT, per=PER, burst=BURST, key=client_name)])
async def worker() -> int:
    return os.getpid()
