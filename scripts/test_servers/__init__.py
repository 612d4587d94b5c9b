"""Starts real servers for the tests: installed once, on loopback, stopped by pid."""
