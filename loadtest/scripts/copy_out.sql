COPY (SELECT repeat('x', 99) FROM generate_series(1, 100000)) TO STDOUT /* bytes=100 rows=100000 */;
