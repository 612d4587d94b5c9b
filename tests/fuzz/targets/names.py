"""Names in the forms that backends have: none is lost, no two become one, and none leads out of its place."""

import unicodedata
from collections.abc import Callable, Sequence

from satchel import InvalidKeyError
from satchel.blobs.filesystems import READABLE
from satchel.blobs.levels import KeyPaths
from satchel.names import FOLDED_SAFE, SAFE, Escaping, check_name, check_ref
from satchel.stores.elasticsearch.document import document_id
from satchel.stores.filetree.layout import Layout as FileLayout
from satchel.stores.memcached.store import Layout as MemcachedLayout
from satchel.stores.nats.layout import Layout as NATSLayout
from satchel.stores.objectstore.layout import Layout as ObjectLayout
from tests.fuzz.harness import text_of

TREES = [
    FileLayout(satchel=1, tells_case=case, keeps_unicode=unicode, max_name_bytes=250)
    for case in (True, False)
    for unicode in (True, False)
]
ESCAPINGS = [Escaping(SAFE, 80), Escaping(FOLDED_SAFE, 200), *(tree.escaping for tree in TREES)]
PATHS = KeyPaths(Escaping(SAFE | READABLE, keep_unicode=True), 255, 1000)
OBJECTS, SUBJECTS, ITEMS = ObjectLayout("satchel"), NATSLayout("bucket"), MemcachedLayout("satchel")
FORMS: list[Callable[[tuple[str, str]], object]] = [OBJECTS.path, SUBJECTS.subject, ITEMS.key, document_id]
TOKENS = [
    b"%",
    b"%-",
    b"%2",
    b"%2f",
    b"/",
    b"//",
    b"..",
    b"con",
    b"\0",
    "ß".encode(),
    "ß".upper().encode(),
    "é".encode(),
    "e\u0301".encode(),
    b"==",
]


def seeds() -> Sequence[bytes]:
    texts = [
        "users\nada",
        "a/b\n../..",
        "CON.txt\ncon",
        "é\ne\u0301",
        "%2f\n/",
        "x" * 300 + "\n" + "x" * 300 + "y",
        "İ🙂\n\0",
    ]
    return [text.encode() for text in texts]


def check(data: bytes) -> None:
    one, _, other = text_of(data).partition("\n")
    for name in (one, other):
        try:
            check_name(name)
        except InvalidKeyError:
            continue
        for escaping in ESCAPINGS:
            there_and_back(escaping, name)
        path(name)
    for escaping in ESCAPINGS:
        read = escaping.unescape(one)
        assert read is None or escaping.escape(read) == one
    for tree in TREES:
        tree.makes(one)
    try:
        first, second = check_ref(one, other), check_ref(other, one)
    except InvalidKeyError:
        return
    for form in FORMS:
        assert one == other or form(first) != form(second)
    assert SUBJECTS.ref_of(SUBJECTS.subject(first), None) in {first, None}
    assert OBJECTS.path(first).count("/") == 2
    assert SUBJECTS.subject(first).count(".") == 3
    if one != other:
        for escaping in ESCAPINGS:
            assert escaping.escape(one) != escaping.escape(other)
        for tree in TREES:
            assert seen_by(tree, one) != seen_by(tree, other)


def there_and_back(escaping: Escaping, name: str) -> None:
    escaped = escaping.escape(name)
    assert escaped
    assert len(escaped.encode()) <= escaping.max_bytes
    assert not escaped.startswith(".")
    assert not escaped.endswith(".")
    assert not {"/", "\\", "\0", "\n"} & set(escaped)
    assert escaping.unescape(escaped) == (None if "%-" in escaped else name)


def seen_by(tree: FileLayout, name: str) -> str:
    """Return the file name as a file system sees it that tells as much apart as the tree was made for."""
    file = tree.escaping.escape(name)
    if not tree.keeps_unicode:
        file = unicodedata.normalize("NFC", file)
    return file if tree.tells_case else file.casefold()


def path(key: str) -> None:
    try:
        levels = PATHS.levels(key)
    except InvalidKeyError:
        return
    assert not {"", ".", ".."} & set(levels)
    assert PATHS.key(levels) == key
