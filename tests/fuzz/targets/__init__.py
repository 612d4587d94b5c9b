"""One module for each thing that reads what others wrote; `tests.fuzz.harness` says what is in one."""
