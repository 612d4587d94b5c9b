"""A store that fails in ways that a `FlakyStore` does not."""

import asyncio

from satchel import StoreUnavailableError
from satchel.testing import FlakyStore


class Failing(FlakyStore):
    """Does what it was asked and then fails, or fails single keys, or hangs; and remembers what it was asked."""

    def __init__(self, **options):
        super().__init__(**options)
        self.asked = []
        """Operation and keys of every request."""
        self.fail_after = 0
        """So many of the next requests do what they were asked, and fail."""
        self.failing = {}
        """Keys, and the errors that they still fail with."""
        self.hang = None
        """What requests wait for."""

    async def _answer(self, operation, refs, hook, *arguments):
        self.asked.append((operation, [key for _, key in refs]))
        if self.hang is not None:
            await self.hang.wait()
        outcomes = list(await hook(*arguments))
        if self.fail_after:
            self.fail_after -= 1
            return [StoreUnavailableError("done, and failed")] * len(outcomes)
        return [self.failing[key].pop() if self.failing.get(key) else outcomes[at] for at, (_, key) in enumerate(refs)]

    async def _read(self, refs):
        return await self._answer("read", refs, super()._read, refs)

    async def _write(self, records):
        return await self._answer("write", [ref for ref, _ in records], super()._write, records)

    async def _delete(self, refs, now):
        return await self._answer("delete", refs, super()._delete, refs, now)

    async def _put_if(self, items, now):
        return await self._answer("put_if", [item[0] for item in items], super()._put_if, items, now)

    async def _delete_if(self, items, now):
        return await self._answer("delete_if", [item[0] for item in items], super()._delete_if, items, now)

    async def _touch(self, items, now):
        return await self._answer("touch", [item[0] for item in items], super()._touch, items, now)


class Listing(FlakyStore):
    """Lists one name a page, and fails at a page when told."""

    def __init__(self, names, fail_at, **options):
        super().__init__(**options)
        self.names, self.fail_at, self.pages = names, list(fail_at), 0

    async def _keys(self, collection, prefix, now):
        for page, name in enumerate(self.names):
            self.pages += 1
            if self.fail_at and page == self.fail_at[0]:
                del self.fail_at[0]
                raise StoreUnavailableError("this page fails")
            await asyncio.sleep(0)
            yield [name]

    async def _collections(self, now):
        async for page in self._keys("c", "", now):
            yield page


async def collect(found, listing):
    """Add what a listing gives to a list, until it ends or fails."""
    async for name in listing:
        found.append(name)
