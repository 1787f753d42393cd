import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Properties;
import java.util.Set;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

/** pgjdbc with its defaults, past prepareThreshold. Arguments: host, port, number (telling.py says what of). */
public class WithJdbc {
    static String url;
    static int n;
    static final Set<Object> pids = new HashSet<>();

    interface Body {
        void run() throws Exception;
    }

    static void chapter(String title, Body body) {
        System.out.println("# " + title);
        try {
            body.run();
        } catch (SQLException error) {
            tellError(error);
        } catch (Exception error) {
            System.out.println(error);
        }
    }

    static void tell(Object... values) {
        System.out.println(Arrays.deepToString(values));
    }

    static void tellError(SQLException error) {
        System.out.println(error.getSQLState() + ": " + String.join(" / ", error.getMessage().split("\\s*\n\\s*")));
    }

    static Connection connect(String... properties) throws SQLException {
        Properties all = new Properties();
        all.setProperty("user", "app");
        for (int i = 0; i < properties.length; i += 2) {
            all.setProperty(properties[i], properties[i + 1]);
        }
        return DriverManager.getConnection(url, all);
    }

    static Object value(Connection connection, String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < parameters.length; i++) {
                statement.setObject(i + 1, parameters[i]);
            }
            try (ResultSet result = statement.executeQuery()) {
                return result.next() ? result.getObject(1) : null;
            }
        }
    }

    static void execute(Connection connection, String... texts) throws SQLException {
        for (String sql : texts) {
            try (Statement statement = connection.createStatement()) {
                statement.execute(sql);
            }
        }
    }

    static void prepared(Connection connection) throws Exception {
        chapter("past prepareThreshold", () -> {
            for (int i = 0; i < 12; i++) {
                tell(value(connection, "SELECT ? + " + n, i), value(connection, "SELECT ? || '" + n + "'", "x"));
                pids.add(value(connection, "SELECT pg_backend_pid()"));
                pids.add(value(connection, "SELECT pg_backend_pid()"));
            }
        });
        chapter("a statement that is kept, and fails", () -> {
            try (PreparedStatement statement = connection.prepareStatement("SELECT " + 6 * n + " / ?::int")) {
                for (int divisor : new int[] {1, 2, 0, 3, 1, 2, 0, 0, 3, 6}) {
                    statement.setInt(1, divisor);
                    try (ResultSet result = statement.executeQuery()) {
                        result.next();
                        tell(result.getInt(1), result.getMetaData().getColumnTypeName(1));
                    } catch (SQLException error) {
                        tellError(error);
                    }
                }
            }
        });
        chapter("batches", () -> {
            execute(connection, "CREATE TABLE jdbc_" + n + " (id serial, n int, t text)");
            String insert = "INSERT INTO jdbc_" + n + " (n, t) VALUES (?, ?)";
            for (int round = 0; round < 3; round++) {
                try (PreparedStatement statement =
                        connection.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
                    for (int i = 0; i < 40; i++) {
                        statement.setInt(1, i);
                        statement.setString(2, n + "." + i);
                        statement.addBatch();
                    }
                    tell(statement.executeBatch().length);
                    ResultSet keys = statement.getGeneratedKeys();
                    keys.next();
                    tell(keys.getInt(1));
                }
            }
            try (Statement statement = connection.createStatement()) {
                statement.addBatch("UPDATE jdbc_" + n + " SET n = n + 1 WHERE n < 3");
                statement.addBatch("SELECT 1/0");
                statement.executeBatch();
            } catch (SQLException error) {
                tellError(error);
            }
            tell(value(connection, "SELECT sum(n) FROM jdbc_" + n));
        });
        chapter("cached statements are evicted", () -> {
            try (Connection small = connect("preparedStatementCacheQueries", "3", "prepareThreshold", "1")) {
                for (int round = 0; round < 3; round++) {
                    for (int i = 0; i < 7; i++) {
                        tell(value(small, "SELECT ? + " + i * n, round));
                    }
                }
            }
        });
        chapter("after DISCARD ALL", () -> {
            execute(connection, "DISCARD ALL");
            for (int i = 0; i < 7; i++) {
                tell(value(connection, "SELECT ? + " + n, i));
            }
        });
    }

    static void transactions(Connection connection) throws Exception {
        connection.setAutoCommit(false);
        chapter("transactions and savepoints", () -> {
            for (int i = 0; i < 7; i++) {
                value(connection, "UPDATE jdbc_" + n + " SET n = n + ? WHERE n < 5 RETURNING n", i);
                Savepoint savepoint = connection.setSavepoint();
                try {
                    value(connection, "SELECT 1 / ?::int", 0);
                } catch (SQLException error) {
                    tellError(error);
                }
                connection.rollback(savepoint);
                tell(value(connection, "SELECT sum(n) FROM jdbc_" + n));
                if (i % 2 == 0) {
                    connection.commit();
                } else {
                    connection.rollback();
                }
            }
        });
        chapter("rows in portions", () -> {
            try (PreparedStatement statement = connection.prepareStatement("SELECT generate_series(1, ?)")) {
                statement.setFetchSize(50);
                for (int round = 0; round < 7; round++) {
                    statement.setInt(1, 200 * n);
                    long sum = 0;
                    try (ResultSet result = statement.executeQuery()) {
                        while (result.next()) {
                            sum += result.getInt(1);
                        }
                    }
                    tell(sum);
                    connection.commit();
                }
            }
        });
        chapter("how transactions begin", () -> {
            connection.setReadOnly(true);
            connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            tell(value(connection, "SHOW transaction_isolation"), value(connection, "SHOW transaction_read_only"));
            connection.commit();
            tell(connection.getTransactionIsolation());
            connection.setReadOnly(false);
            connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            tell(value(connection, "SHOW transaction_isolation"));
            connection.commit();
        });
        chapter("large objects", () -> {
            LargeObjectManager manager = connection.unwrap(PGConnection.class).getLargeObjectAPI();
            long id = manager.createLO();
            try (LargeObject object = manager.open(id)) {
                object.write(("of " + n).getBytes(StandardCharsets.UTF_8));
            }
            connection.commit();
            try (LargeObject object = manager.open(id)) {
                tell(new String(object.read(100), StandardCharsets.UTF_8), object.size());
            }
            manager.delete(id);
            connection.commit();
        });
        connection.setAutoCommit(true);
        chapter("saved before each statement", () -> {
            try (Connection careful = connect("autosave", "always")) {
                careful.setAutoCommit(false);
                for (int divisor : new int[] {1, 0, 2, 0, 3, 1, 2, 3}) {
                    try {
                        tell(value(careful, "SELECT " + 6 * n + " / ?::int", divisor));
                    } catch (SQLException error) {
                        tellError(error);
                    }
                }
                careful.commit();
            }
        });
    }

    static void state(Connection connection) throws Exception {
        PGConnection own = connection.unwrap(PGConnection.class);
        chapter("COPY", () -> {
            byte[] rows = "7\tseven\n8\teight\n".repeat(2000).getBytes(StandardCharsets.UTF_8);
            String into = "COPY jdbc_" + n + " (n, t) FROM STDIN";
            tell(own.getCopyAPI().copyIn(into, new ByteArrayInputStream(rows)));
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            tell(own.getCopyAPI().copyOut("COPY (SELECT n, t FROM jdbc_" + n + ") TO STDOUT", out), out.size());
            try {
                own.getCopyAPI().copyIn(into, new ByteArrayInputStream("x\ty\n".getBytes(StandardCharsets.UTF_8)));
            } catch (SQLException error) {
                tellError(error);
            }
            tell(value(connection, "SELECT count(*) FROM jdbc_" + n));
        });
        chapter("settings", () -> {
            execute(connection, "SET TIME ZONE " + n);
            for (int i = 0; i < 4; i++) {
                tell(own.getParameterStatus("TimeZone"), value(connection, "SELECT '2020-01-01 00:00+0'::timestamptz::text"));
            }
            execute(connection, "RESET ALL");
            connection.setSchema("pg_catalog");
            tell(connection.getSchema(), value(connection, "SHOW search_path"), value(connection, "SHOW search_path"));
            connection.setSchema("public");
            connection.setClientInfo("ApplicationName", "client " + n);
            tell(value(connection, "SHOW application_name"), value(connection, "SHOW application_name"));
        });
        chapter("another search_path for one text", () -> {
            execute(connection, "CREATE SCHEMA jdbc_a" + n, "CREATE SCHEMA jdbc_b" + n);
            execute(connection, "CREATE TABLE jdbc_a" + n + ".p AS SELECT 1 AS n", "CREATE TABLE jdbc_b" + n + ".p AS SELECT 2 AS n");
            for (int i = 0; i < 14; i++) {
                execute(connection, "SET search_path TO jdbc_" + (i % 2 == 0 ? "a" : "b") + n);
                tell(value(connection, "SELECT n FROM p WHERE n <> ?", 0));
            }
            execute(connection, "RESET search_path", "DROP SCHEMA jdbc_a" + n + " CASCADE", "DROP SCHEMA jdbc_b" + n + " CASCADE");
        });
        chapter("what it knows of the database", () -> {
            try (ResultSet columns = connection.getMetaData().getColumns(null, "public", "jdbc_" + n, "%")) {
                while (columns.next()) {
                    tell(columns.getString("COLUMN_NAME"), columns.getString("TYPE_NAME"));
                }
            }
        });
        chapter("a temporary table", () -> {
            execute(connection, "CREATE TEMP TABLE mine (n int)");
            for (int i = 0; i < 7; i++) {
                value(connection, "INSERT INTO mine VALUES (?) RETURNING n", i * n);
                tell(value(connection, "SELECT sum(n) FROM mine"));
            }
            execute(connection, "DROP TABLE mine");
        });
        chapter("notifications", () -> {
            execute(connection, "LISTEN jdbc_" + n);
            try (Connection other = connect()) {
                value(other, "SELECT pg_notify(?, ?)::text", "jdbc_" + n, "of " + n);
            }
            PGNotification[] heard = own.getNotifications(20_000);
            tell(heard.length, heard[0].getName(), heard[0].getParameter());
            execute(connection, "UNLISTEN *");
        });
        chapter("a time-out cancels", () -> {
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(1);
                statement.execute("SELECT pg_sleep(60)");
            } catch (SQLException error) {
                tellError(error);
            }
            tell(value(connection, "SELECT ? + 1", n));
        });
    }

    public static void main(String[] arguments) throws Exception {
        url = "jdbc:postgresql://" + arguments[0] + ":" + arguments[1] + "/app";
        n = Integer.parseInt(arguments[2]);
        try (Connection connection = connect()) {
            prepared(connection);
            transactions(connection);
            state(connection);
            execute(connection, "DROP TABLE jdbc_" + n);
        }
        System.err.println(pids.size());
    }
}
