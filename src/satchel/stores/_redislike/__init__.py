"""TODO-DOC satchel.stores._redislike."""
