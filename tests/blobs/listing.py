"""What is in blobs."""


async def keys_of(blobs, **options):
    """Return the keys in the order of the listing."""
    return [key async for key in blobs.keys(**options)]
