"""The values that the benchmarks put and get: each has 300 bytes as JSON."""

from __future__ import annotations

from typing import Any

PROFILE: dict[str, Any] = {
    "id": 48213,
    "username": "ada.lovelace",
    "email": "ada@lovelace-mail.org",
    "name": {"first": "Ada", "last": "Lovelace"},
    "active": True,
    "roles": ["editor", "reviewer"],
    "score": 87.25,
    "created_at": "2024-11-05T09:31:22Z",
    "address": {"city": "London", "country": "GB"},
    "preferences": {"theme": "system", "newsletter": False},
}
"""A user's profile with nested parts, the harder of the two: 18 values in 5 containers."""

POST: dict[str, Any] = {
    "id": 9012,
    "author": "ada.lovelace",
    "title": "On the engine that weaves algebraical patterns",
    "text": "The Analytical Engine weaves algebraical patterns just as the Jacquard loom weaves flowers and leaves.",
    "tags": ["engineering", "algebra", "weaving"],
    "created_at": "2024-11-05T09:31:22Z",
    "published": True,
}
"""A short post, mostly text: 10 values in 2 containers."""
