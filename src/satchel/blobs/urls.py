"""Addresses of blobs: made from that of a web server, and signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import struct
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import parse_qsl, quote

from .._checks import check_clock
from ..clock import TTL, Clock, seconds, system_clock
from ..errors import ConfigurationError, InvalidKeyError
from ..names import check_name

_CONTEXT = b"satchel url 1"
_LEAST_BYTES = 16
_STEPS = 4
_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})


def address(base_url: str | Callable[[str], str], key: str) -> str:
    """Return the address of a key under that of a server.

    A key is percent-encoded; its `/` stay, unless a browser would change the path, as for `a//b` and `../b`.

    Raises:
        InvalidKeyError: The key is `.` or `..`, to which no address leads.
    """
    if callable(base_url):
        return base_url(key)
    levels = key.split("/")
    if key in (".", ".."):
        raise InvalidKeyError(f"no address leads to the key {key!r}: browsers leave it out")
    kept = "" if any(level in ("", ".", "..") for level in levels) else "/"
    return f"{base_url.rstrip('/')}/{quote(key, safe=kept)}"


def stable_deadline(now: float, expires: float) -> int:
    """Return a whole second at least `expires` after now, the same one for a quarter of that time.

    An address that holds until then stays the same meanwhile, so that caches keep what they got under it.
    """
    step = max(1, math.ceil(expires / _STEPS))
    return math.ceil((now + expires) / step) * step


class UrlSigner:
    """Signer of addresses. A signed address allows one method on one key until a moment.

    ```python
    from satchel.blobs import UrlSigner

    signer = UrlSigner(b"a secret of at least 16 bytes", scope="photos")
    url = signer.sign("https://example.org/photos/cat.png", "cat.png", expires=900)
    query = url.partition("?")[2]
    assert signer.allows("cat.png", query, method="GET")
    assert not signer.allows("dog.png", query, method="GET")
    ```

    A signed address ends in `?expires=...&method=...&signature=...`: a whole second since the Unix epoch, the HTTP
    method, and HMAC-SHA256 in URL-safe Base64 without padding, over the scope, method, key and moment, each with its
    length before it.

    Args:
        secret: The secret; of several the first one signs, and each is accepted, so that secrets can be replaced.
        scope: Keeps apart what is signed with one secret for several places.
        clock: Returns the present as seconds since the Unix epoch.

    Raises:
        ConfigurationError: There is no secret, or one is shorter than 16 bytes.
    """

    def __init__(self, secret: bytes | Sequence[bytes], *, scope: str = "", clock: Clock = system_clock) -> None:
        check_clock(clock)
        secrets = list(secret) if isinstance(secret, Iterable) and not isinstance(secret, bytes) else [secret]
        if not secrets or any(not isinstance(part, bytes) or len(part) < _LEAST_BYTES for part in secrets):
            raise ConfigurationError(f"secret must be bytes, at least {_LEAST_BYTES} of them, or several such secrets")
        if not isinstance(scope, str):
            raise ConfigurationError(f"scope must be a str, got {type(scope).__name__}")
        self._secrets, self._scope, self._clock = secrets, scope, clock

    def __repr__(self) -> str:
        return f"UrlSigner(scope={self._scope!r})"

    def sign(self, url: str, key: str, *, expires: TTL = 900, method: str = "GET") -> str:
        """Return an address with a signature.

        Args:
            url: The address.
            key: The key that it stands for.
            expires: Time for which it holds at least, in seconds or as a `timedelta`; at most a quarter longer.
            method: The HTTP method that it allows; `GET` allows `HEAD` too.

        Raises:
            ConfigurationError: The method is not GET, HEAD, PUT or DELETE.
        """
        if method not in _METHODS:
            raise ConfigurationError(f"method must be one of {', '.join(sorted(_METHODS))}")
        deadline = stable_deadline(self._clock(), seconds(expires, "expires"))
        signature = self._signature(self._secrets[0], check_name(key), method, str(deadline))
        joint = "&" if "?" in url else "?"
        return f"{url}{joint}expires={deadline}&method={method}&signature={signature}"

    def allows(self, key: str, query: str, *, method: str = "GET") -> bool:
        """Return whether the query of an address allows a method on a key now.

        Args:
            key: The key that is asked for.
            query: What follows the `?` of the address.
            method: The HTTP method of the request.
        """
        given = dict(parse_qsl(query))
        signed, signature = given.get("method", ""), given.get("signature", "")
        deadline = given.get("expires", "")
        if not (deadline.isascii() and deadline.isdecimal() and len(deadline) <= 15 and signature.isascii()):
            return False
        genuine = [
            hmac.compare_digest(self._signature(secret, key, signed, deadline), signature) for secret in self._secrets
        ]
        right_method = method == signed or (method == "HEAD" and signed == "GET")
        return any(genuine) and right_method and self._clock() < int(deadline)

    def _signature(self, secret: bytes, key: str, method: str, deadline: str) -> str:
        parts = [text.encode("utf-8", "surrogatepass") for text in (self._scope, method, key, deadline)]
        framed = b"".join(struct.pack(">Q", len(part)) + part for part in parts)
        digest = hmac.new(secret, _CONTEXT + framed, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
