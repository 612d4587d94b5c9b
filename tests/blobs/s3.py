"""Blobs in the S3 server of the run."""

from urllib.parse import parse_qsl, urlsplit

from satchel.blobs.objects import ObjectBlobs
from tests.servers import server_url


def s3_blobs(prefix, **options):
    """Return blobs below a prefix that only one test uses."""
    parts = urlsplit(server_url("s3"))
    return ObjectBlobs(f"s3://{parts.netloc}/{prefix}", **dict(parse_qsl(parts.query)), **options)
