"""The stores, a package or file for each backend. `satchel` exports them; a driver is imported with its store."""
