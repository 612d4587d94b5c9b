"""Content-addressed values and recorded calls."""
