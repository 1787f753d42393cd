"""The manual: pages, and the programs that make their tables, the man pages and the picture."""
