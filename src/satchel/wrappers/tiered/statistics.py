"""What a `TieredStore` counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TierStatistics:
    """Statistics of one tier.

    Attributes:
        hits: Entries that it was asked for and had. A stored None is there.
        misses: Entries that it was asked for and did not have.
        writes: Entries put, removed or touched there at a caller's wish; promotions are not among them.
        errors: Requests to it that failed.
    """

    hits: int
    misses: int
    writes: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class TieredStatistics:
    """Statistics of a `TieredStore`.

    Attributes:
        hot: Of the hot store.
        cold: Of the cold store. What hot answered never got here.
        promotions: Entries copied from cold to hot, by a read or by `warm`.
        demotions: Entries moved out of hot by `demote`.
        queued: Writes that wait to reach cold, now.
        changes: With `follow=True`, changes that cold reported, those made through this store included.
        losses: With `follow=True`, times that a collection was removed from hot because reports may have been missed.
    """

    hot: TierStatistics
    cold: TierStatistics
    promotions: int
    demotions: int
    queued: int
    changes: int = 0
    losses: int = 0


class TierCounter:
    """Counts for one tier."""

    __slots__ = ("errors", "hits", "misses", "writes")

    def __init__(self) -> None:
        self.hits = self.misses = self.writes = self.errors = 0

    def snapshot(self) -> TierStatistics:
        """Return what was counted until now."""
        return TierStatistics(hits=self.hits, misses=self.misses, writes=self.writes, errors=self.errors)
