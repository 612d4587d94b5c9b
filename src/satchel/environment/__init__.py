"""Settings of a program from files, mappings and the system: modes, types, references, snapshots and masked secrets."""

from ..errors import InvalidSettingError, MissingSettingError, ModeError, SettingCycleError, SettingError
from .environment import Environment, Snapshot
from .modes import Mode
from .views import Explanation

__all__ = [
    "Environment",
    "Explanation",
    "InvalidSettingError",
    "MissingSettingError",
    "Mode",
    "ModeError",
    "SettingCycleError",
    "SettingError",
    "Snapshot",
]
