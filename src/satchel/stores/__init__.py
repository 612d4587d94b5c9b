"""The stores, one file for each backend. `satchel` exports them all; a driver is imported when its store is."""
