"""Satchel inside other frameworks: one module each, imported only when you import it."""
