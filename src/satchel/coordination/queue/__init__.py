"""`Queue`: jobs handed to workers, at least once, on any store with conditional writes."""

from .job import DeadJob, Job
from .queue import Queue

__all__ = ["DeadJob", "Job", "Queue"]
