"""Store over a key-value bucket of NATS JetStream."""

from .store import NATSStore

__all__ = ["NATSStore"]
