"""What the catalogue keeps: distributions, and the files that they installed."""

from pydantic import BaseModel, Field


class Distribution(BaseModel):
    name: str = Field(min_length=1)
    version: str
    summary: str = ""
    file_count: int = Field(ge=0)


class InstalledFile(BaseModel):
    owner: str = Field(min_length=1)
    path: str = Field(min_length=1)
    size: int | None = None
    hash: str | None = None

    @property
    def key(self) -> str:
        """Return the key of this file; no distribution has a slash in its name."""
        return f"{self.owner}/{self.path}"
