"""The reader of Markdown that the tests of the documentation stand on."""

from tests.project.markdown import Block, Page

TEXT = """\
# The `put` verb, and others

See [below](#twice) and ![a picture](picture.png).

````text
```python
not a block of its own
```
````

## Twice
## Twice

- in a list:

  ```python
  await answer()
  ```
"""


def test_blocks_have_their_language_code_and_line() -> None:
    assert list(Page(TEXT).blocks) == [
        Block("text", "```python\nnot a block of its own\n```\n", 6),
        Block("python", "await answer()\n", 17),
    ]


def test_links_and_pictures_are_found() -> None:
    assert list(Page(TEXT).links) == ["#twice", "picture.png"]


def test_anchors_are_those_that_readers_see() -> None:
    assert Page(TEXT).anchors == {"the-put-verb-and-others", "twice", "twice-1"}


def test_rows_that_run_into_each_other_are_found() -> None:
    table = "| a | b |\n| - | - |\n| `x \\| y` | 1 |\n| 2 | 3 | | 4 | 5 |\n\n| c |\n| - |\n| 6 |\n"
    assert list(Page(table).uneven_rows) == ["| 2 | 3 | | 4 | 5 |"]
