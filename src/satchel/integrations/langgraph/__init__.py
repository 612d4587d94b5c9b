"""LangGraph's long-term memory and its checkpoints on any satchel store."""

from .checkpoints import SatchelSaver
from .memory import LangGraphStore

__all__ = ["LangGraphStore", "SatchelSaver"]
