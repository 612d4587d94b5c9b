"""Scenarios of sessions, blobs and content: the models of their own tests, lived in simulated processes that crash."""

import asyncio
from types import SimpleNamespace

from satchel.blobs import StoreBlobs
from satchel.content import ContentStore
from satchel.sessions import Sessions
from tests.blobs import test_schedules as blobs
from tests.content import test_content_schedules as contents
from tests.sessions import test_session_schedules as sessions
from tests.simulation.setting import Setting


class InProcesses:
    """What replaces a model's own server and processes by those of a setting."""

    def inhabit(self, setting):
        """Take over the engine and the chance of a setting."""
        self.setting, self.clients = setting, {}
        self.chance = setting.world.random("model")
        self.server = SimpleNamespace(data=setting.engine.data, loses_answer=None, delay=None)
        return self

    async def live_in(self, client, work):
        """Do some work in the process of a client."""
        self.clients[client.process.loop] = client
        await work

    @property
    def here(self):
        """The client whose process runs now."""
        return self.clients[asyncio.get_running_loop()]


class SessionModel(InProcesses, sessions.World):
    def process(self):
        return Sessions(self.here.store, clock=self.here.clock)


async def web_sessions(world):
    """No session that was ended lives, none is stored twice or lost, and no acknowledged change of one is lost."""
    setting = Setting(world, skew=4.0)
    model = SessionModel(0).inhabit(setting)

    async def visitor(client):
        async def requests():
            for _ in client.steps(4):
                await model.request()
                await client.pause(0, 0.1, 1, sessions.GRACE)

        await model.live_in(client, requests())

    async with setting.quiet() as quiet:
        for _ in range(2):
            await model.live_in(quiet, model.create(Sessions(quiet.store, clock=quiet.clock)))
    await setting.work(*[visitor] * 5)
    await setting.calm()
    await asyncio.sleep(sessions.GRACE + 10)
    async with setting.quiet() as quiet:
        await model.live_in(quiet, model.check(Sessions(quiet.store, clock=quiet.clock)))


class BlobModel(InProcesses, blobs.World):
    def process(self, *, killed=False):
        here = self.here
        made = StoreBlobs(here.store, chunk_size=blobs.CHUNK, clock=here.clock)
        made._inline = blobs.INLINE
        made.connection = SimpleNamespace(stop=here.process.freeze)
        return made


async def large_blobs(world):
    """A blob is read as it was written, none that was acknowledged is lost, and nothing is left behind."""
    setting = Setting(world, skew=4.0)
    model = BlobModel(0).inhabit(setting)

    def process_of(work):
        return lambda client: model.live_in(client, work())

    def write():
        return model.write(killed=False)

    await setting.work(*map(process_of, [write, write, write, model.read, model.read, model.sweep]))
    await setting.calm()
    async with setting.quiet() as quiet:
        await model.live_in(quiet, model.check())


class ContentModel(InProcesses, contents.World):
    def process(self, *, killed=False, depth=2):
        here = self.here
        made = ContentStore(here.store, depth=depth, older_than=contents.AGE, clock=here.clock)
        made.connection = SimpleNamespace(stop=here.process.freeze)
        return made


async def recorded_content(world):
    """What a record or a pin refers to is never collected, is read as it was saved, and nothing else is left."""
    # Requests that arrive late count against the quarter of its age by which clocks of content may be apart.
    setting = Setting(world, skew=contents.AGE / 5, over=5 * contents.AGE, drifts=False)
    model = ContentModel(0).inhabit(setting)

    def process_of(work, *arguments, **options):
        return lambda client: model.live_in(client, work(*arguments, **options))

    writers = [process_of(model.write, number, killed=False) for number in range(3)]
    await setting.work(*writers, process_of(model.collect), process_of(model.collect), process_of(model.load))
    await setting.calm()
    async with setting.quiet() as quiet:
        await model.live_in(quiet, model.check())


SCENARIOS = (web_sessions, large_blobs, recorded_content)
