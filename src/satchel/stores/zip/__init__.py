"""Store over a zip archive, and what writes one."""

from .store import ZipStore
from .writer import ZipWriter, write_zip

__all__ = ["ZipStore", "ZipWriter", "write_zip"]
