SELECT repeat('x', 1000000) /* bytes=1000000 */;
