"""A checker of reads through near caches: is one older than promised, or older than an own write?

The order of writes by several processes is not known where they overlap. So a read counts as too old only if every
write that may have given its value was replaced by one that began after it had ended.
"""

from dataclasses import dataclass

NEVER = 1 << 60


@dataclass
class Step:
    """One read or write of one key, from its start to its end; an unknown write may still take effect at any time."""

    process: int
    value: object
    start: int
    end: int = NEVER
    known: bool = False


class ReadsAndWrites:
    """Steps of one key; the first write is that of nothing, before all others."""

    def __init__(self):
        self.writes = [Step(-1, None, -1, -1, known=True)]
        self.reads = []

    def check(self, bound):
        """Check that no read is older than a bound, or than a write of its own process."""
        for read in self.reads:
            sources = [write for write in self.writes if write.value == read.value and write.start < read.end]
            assert sources, f"{read.value} was never written"
            assert not all(self._is_too_old(source, read, bound) for source in sources), f"{read} in {self.writes}"

    def _is_too_old(self, source, read, bound):
        return any(
            write.known
            and write.start > source.end
            and (write.end < read.start - bound or (write.process == read.process and write.end < read.start))
            for write in self.writes
        )
