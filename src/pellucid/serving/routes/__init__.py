"""The server's addresses, one file per family."""
