SELECT repeat('x', 10000) FROM generate_series(1, 100000) /* bytes=10000 rows=100000 */;
