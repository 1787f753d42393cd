import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Properties;

/** Logs in by pgjdbc and prints who it is; or the SQLSTATE of the refusal. Arguments: URL, user, password. */
public class LogIn {
    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", arguments[1]);
        if (arguments.length > 2) {
            properties.setProperty("password", arguments[2]);
        }
        try (Connection connection = DriverManager.getConnection(arguments[0], properties);
                ResultSet result = connection.createStatement().executeQuery("SELECT current_user")) {
            result.next();
            System.out.println(result.getString(1));
        } catch (SQLException refused) {
            System.out.println(refused.getSQLState());
        }
    }
}
