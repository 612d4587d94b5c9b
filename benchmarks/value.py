"""The value that the benchmarks put and get: a user's profile of 300 bytes as JSON, nested as such things are."""

from __future__ import annotations

from typing import Any

PROFILE: dict[str, Any] = {
    "id": 48213,
    "username": "ada.lovelace",
    "email": "ada.lovelace-mail.org",
    "name": {"first": "Ada", "last": "Lovelace"},
    "active": True,
    "roles": ["editor", "reviewer"],
    "score": 87.25,
    "created_at": "2024-11-05T09:31:22Z",
    "address": {"city": "London", "country": "GB"},
    "preferences": {"theme": "dark", "newsletter": False},
}
