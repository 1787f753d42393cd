<?php
// PHP's PDO: prepared by the server (its default) or emulated (the fourth argument), its DEALLOCATE, cursors, COPY.
// Arguments: host, port, number (telling.py says what of), "native" or "emulated".
declare(strict_types=1);

[, $host, $port, $number, $mode] = $argv;
$n = (int) $number;
$pids = [];

function connect(array $options = []): PDO
{
    global $host, $port, $mode;
    return new PDO("pgsql:host=$host;port=$port;dbname=app;user=app", null, null, $options + [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_EMULATE_PREPARES => $mode === 'emulated',
    ]);
}

function tell(mixed ...$values): void
{
    echo implode(' ', array_map(fn ($value) => json_encode($value), $values)), "\n";
}

function tell_error(Throwable $error): void
{
    echo preg_replace('/\s+/', ' ', $error->getMessage()), "\n";
}

function chapter(string $title, callable $body): void
{
    echo "# $title\n";
    try {
        $body();
    } catch (Throwable $error) {
        tell_error($error);
    }
}

function rows(PDO $db, string $sql, array $parameters = [], array $options = []): array
{
    $statement = $db->prepare($sql, $options);
    $statement->execute($parameters);
    return $statement->fetchAll(PDO::FETCH_NUM);
}

$db = connect();

chapter('statements, each prepared, used once and deallocated', function () use ($db, $n, &$pids) {
    for ($i = 0; $i < 8; $i++) {
        tell(rows($db, "SELECT $n * 100 + ?::int, ?::text", [$i, 'x']));
        $pids[$db->query('SELECT pg_backend_pid()')->fetchColumn()] = true;
        $pids[$db->query('SELECT pg_backend_pid()')->fetchColumn()] = true;
    }
});
chapter('statements that are kept', function () use ($db, $n) {
    $one = $db->prepare("SELECT $n + CAST(:i AS int)");
    $other = $db->prepare("SELECT $n - CAST(:i AS int)");
    for ($i = 0; $i < 6; $i++) {
        $one->execute(['i' => $i]);
        $other->execute(['i' => $i]);
        tell($one->fetchColumn(), $other->fetchColumn());
    }
    $one = null;
    $other->execute(['i' => 9]);
    tell($other->fetchColumn());
});
chapter('a statement that fails', function () use ($db, $n) {
    $divide = $db->prepare("SELECT $n * 6 / CAST(? AS int)");
    foreach ([1, 0, 2, 0, 3] as $divisor) {
        try {
            $divide->execute([$divisor]);
            tell($divide->fetchAll(PDO::FETCH_NUM));
        } catch (PDOException $error) {
            tell_error($error);
        }
    }
    foreach (['SELECT nothing', 'SELEKT ?', "SELECT $n"] as $sql) {
        try {
            tell(rows($db, $sql, str_contains($sql, '?') ? [1] : []));
        } catch (PDOException $error) {
            tell_error($error);
        }
    }
});
chapter('transactions', function () use ($db, $n, $mode) {
    $db->exec("CREATE TABLE pdo_{$mode}_$n (id serial PRIMARY KEY, n int, t text)");
    foreach (['commit', 'rollBack', 'commit'] as $end) {
        $db->beginTransaction();
        $insert = $db->prepare("INSERT INTO pdo_{$mode}_$n (n, t) VALUES (?, ?)");
        for ($i = 0; $i < 4; $i++) {
            $insert->execute([$i, "$n.$i"]);
        }
        tell($db->lastInsertId(), $db->inTransaction());
        $insert = null;
        $db->exec('SAVEPOINT a');
        try {
            rows($db, 'SELECT 1 / CAST(? AS int)', [0]);
        } catch (PDOException $error) {
            tell_error($error);
        }
        $db->exec('ROLLBACK TO a');
        $db->$end();
        tell(rows($db, "SELECT count(*), sum(n) FROM pdo_{$mode}_$n WHERE n <> ?", [9]), $db->inTransaction());
    }
});
chapter('the last id, in the transaction after its INSERT', function () use ($db, $n, $mode) {
    for ($i = 0; $i < 3; $i++) {
        $made = rows($db, "INSERT INTO pdo_{$mode}_$n (n) VALUES (?) RETURNING id", [9])[0][0];
        tell($db->lastInsertId() == $made, $db->lastInsertId("pdo_{$mode}_{$n}_id_seq") == $made);
    }
});
chapter('statements are dropped while their transaction has failed', function () use ($db, $n) {
    $db->beginTransaction();
    try {
        $statement = $db->prepare('SELECT 1 / CAST(? AS int)');
        $statement->execute([0]);
    } catch (PDOException $error) {
        tell_error($error);
    }
    $statement = null;
    $db->rollBack();
    for ($i = 0; $i < 4; $i++) {
        tell(rows($db, "SELECT $n + CAST(? AS int)", [$i]));
    }
});
chapter('COPY', function () use ($db, $n, $mode) {
    $rows = array_map(fn ($i) => "$i\t$n:" . str_repeat('x', $i % 90), range(1, 1500));
    tell($db->pgsqlCopyFromArray("pdo_{$mode}_$n", $rows, "\t", '\\\\N', 'n,t'));
    tell(count($db->pgsqlCopyToArray("pdo_{$mode}_$n")));
    try {
        $db->pgsqlCopyFromArray("pdo_{$mode}_$n", ["x\ty"], "\t", '\\\\N', 'n,t');
    } catch (PDOException $error) {
        tell_error($error);
    }
    tell(rows($db, "SELECT count(*) FROM pdo_{$mode}_$n WHERE n > ?", [0]));
});
chapter('a cursor', function () use ($db, $n) {
    $db->beginTransaction();
    $statement = $db->prepare("SELECT generate_series(1, 10 * $n)", [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
    $statement->execute();
    tell($statement->fetch(PDO::FETCH_NUM), $statement->fetch(PDO::FETCH_NUM, PDO::FETCH_ORI_LAST));
    tell($statement->fetch(PDO::FETCH_NUM, PDO::FETCH_ORI_ABS, 4));
    $statement = null;
    $db->commit();
});
chapter('large objects', function () use ($db, $n) {
    $db->beginTransaction();
    $id = $db->pgsqlLOBCreate();
    $stream = $db->pgsqlLOBOpen($id, 'w');
    fwrite($stream, "of $n");
    fclose($stream);
    $db->commit();
    $db->beginTransaction();
    tell(stream_get_contents($db->pgsqlLOBOpen($id, 'r')), $db->pgsqlLOBUnlink($id));
    $db->commit();
});
chapter('settings', function () use ($db, $n) {
    $db->exec("SET TIME ZONE $n");
    for ($i = 0; $i < 4; $i++) {
        tell(rows($db, "SELECT CAST('2020-01-01 00:00+0' AS timestamptz), CAST(? AS int)", [$i]));
    }
    $db->exec('RESET ALL');
    tell(rows($db, 'SHOW TimeZone'));
});
chapter('after DEALLOCATE ALL', function () use ($db, $n) {
    $db->exec('DEALLOCATE ALL');
    tell(rows($db, "SELECT $n + CAST(? AS int)", [1]), rows($db, "SELECT $n + CAST(? AS int)", [2]));
});
chapter('after DISCARD ALL', function () use ($db, $n) {
    $kept = $db->prepare("SELECT $n + CAST(? AS int)");
    $kept->execute([1]);
    $db->exec('DISCARD ALL');
    try {
        $kept->execute([2]);
        tell($kept->fetchAll(PDO::FETCH_NUM));
    } catch (PDOException $error) {
        tell_error($error);
    }
});
chapter('notifications', function () use ($db, $n) {
    $db->exec("LISTEN pdo_$n");
    connect()->exec("NOTIFY pdo_$n, 'of $n'");
    $heard = $db->pgsqlGetNotify(PDO::FETCH_ASSOC, 20000);
    tell($heard['message'], $heard['payload']);
    $db->exec('UNLISTEN *');
});
chapter('the functions of pgsql', function () use ($host, $port, $n, $mode) {
    $connection = pg_connect("host=$host port=$port dbname=app user=app options='-c work_mem={$n}MB'");
    pg_prepare($connection, 'mine', "SELECT $n + \$1::int, current_setting('work_mem')");
    for ($i = 0; $i < 4; $i++) {
        tell(pg_fetch_row(pg_execute($connection, 'mine', [$i])));
        tell(pg_fetch_row(pg_query_params($connection, "SELECT \$1::int * $n", [$i])));
    }
    pg_query($connection, 'DEALLOCATE mine');
    tell(@pg_execute($connection, 'mine', [1]), pg_last_error($connection));
    tell(pg_insert($connection, "pdo_{$mode}_$n", ['n' => 77, 't' => 'x']) !== false);
    pg_close($connection);
});
$db->exec("DROP TABLE pdo_{$mode}_$n");
fwrite(STDERR, count($pids) . "\n");
