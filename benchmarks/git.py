"""GitStore against plain dulwich: one commit for each change, and the same change by many tasks."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dulwich.objects import Blob, Commit, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

from benchmarks.harness import Report
from benchmarks.network import compare
from satchel.stores.git import GitStore

STEPS = {1: 20, 32: 64}
BRANCH = Ref(b"refs/heads/main")


class PlainStore:
    """What a service writes for itself: JSON files committed in a thread, one after another."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self._turn = asyncio.Lock()

    async def get(self, collection: str, key: str) -> Any:
        return await asyncio.to_thread(self._get, collection.encode(), key.encode())

    async def put(self, collection: str, key: str, value: object, ttl: float) -> None:  # noqa: ARG002  # files have none
        async with self._turn:
            await asyncio.to_thread(self._put, collection.encode(), key.encode(), json.dumps(value).encode())

    def _get(self, collection: bytes, key: bytes) -> Any:
        root: Any = self._repo[self._repo[self._repo.refs[BRANCH]].tree]  # type: ignore[attr-defined]  # a commit
        folder: Any = self._repo[root[collection][1]]
        return json.loads(self._repo[folder[key][1]].as_raw_string())

    def _put(self, collection: bytes, key: bytes, value: bytes) -> None:
        objects, head = self._repo.object_store, self._repo.refs.as_dict().get(BRANCH)
        root: Any = Tree() if head is None else self._repo[self._repo[head].tree]  # type: ignore[attr-defined]  # as above
        folder: Any = self._repo[root[collection][1]] if collection in root else Tree()
        blob = Blob.from_string(value)
        folder.add(key, 0o100644, blob.id)
        root.add(collection, 0o040000, folder.id)
        commit = Commit()
        commit.tree, commit.parents = root.id, [] if head is None else [head]
        commit.author = commit.committer = b"A <a@b>"
        commit.author_time = commit.commit_time = commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"put"
        for made in (blob, folder, root, commit):
            objects.add_object(made)
        self._repo.refs[BRANCH] = commit.id


@asynccontextmanager
async def plain() -> AsyncIterator[PlainStore]:
    with tempfile.TemporaryDirectory() as place, Repo.init_bare(place) as repo:
        yield PlainStore(repo)


@asynccontextmanager
async def satchel() -> AsyncIterator[GitStore]:
    with tempfile.TemporaryDirectory() as place:
        async with GitStore(Path(place) / "repository") as store:
            yield store


def run(report: Report) -> None:
    compare(report, {"plain dulwich": plain, "satchel": satchel}, STEPS)
