"""Shared files: uploads of any size, streamed to a directory, S3 or a store, and downloads that can be resumed."""

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, cast

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response, UploadFile
from pydantic import BaseModel

from satchel import open_blobs
from satchel.blobs import BlobInfo, Blobs
from satchel.integrations.fastapi import blob_response, save_upload

MAX_BYTES = 10 * 1024**3


class SharedFile(BaseModel):
    name: str
    size: int
    content_type: str | None


class Page(BaseModel):
    files: list[SharedFile]
    next: str | None


def get_blobs(request: Request) -> Blobs:
    return cast("Blobs", request.app.state.blobs)


SharedBlobs = Annotated[Blobs, Depends(get_blobs)]


def described(info: BlobInfo) -> SharedFile:
    return SharedFile(name=info.key, size=info.size, content_type=info.content_type)


def create_app(url: str) -> FastAPI:
    """Return the service over the blobs that a URL names."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_blobs(url, max_size=MAX_BYTES) as blobs:
            app.state.blobs = blobs
            yield

    app = FastAPI(title="Shared files", lifespan=lifespan)

    @app.post("/files", status_code=201)
    async def upload(file: UploadFile, blobs: SharedBlobs) -> SharedFile:
        return described(await save_upload(blobs, file.filename, file))

    @app.put("/files/{name:path}", status_code=201)
    async def upload_raw(name: str, request: Request, blobs: SharedBlobs) -> SharedFile:
        return described(await save_upload(blobs, name, request.stream()))

    @app.get("/files")
    async def list_files(blobs: SharedBlobs, after: str = "", limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Page:
        names = [name async for name in blobs.keys(after=after, limit=limit + 1)]
        infos = [await blobs.info(name) for name in names[:limit]]
        files = [described(info) for info in infos if info is not None]
        return Page(files=files, next=names[limit - 1] if len(names) > limit else None)

    @app.api_route("/files/{name:path}", methods=["GET", "HEAD"])
    async def download(name: str, request: Request, blobs: SharedBlobs) -> Response:
        return await blob_response(request, blobs, name, filename=name.rpartition("/")[2])

    @app.delete("/files/{name:path}", status_code=204)
    async def remove(name: str, blobs: SharedBlobs) -> None:
        if not await blobs.delete(name):
            raise HTTPException(404, "There is no such file.")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    print(f"http://127.0.0.1:{port}/docs")
    uvicorn.run(create_app(os.environ.get("SATCHEL_URL", "file:.satchel/file_share")), port=port)


if __name__ == "__main__":
    main()
