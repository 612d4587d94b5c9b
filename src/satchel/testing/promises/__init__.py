"""The promises of a store by theme, each a test; `satchel.testing.conformance` puts them together."""
