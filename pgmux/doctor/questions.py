"""The doctor's questions to PostgreSQL, for the versions 12 and newer.

PostgreSQL's manual: "The Cumulative Statistics System", "System Catalogs", "System Views".
"""

from typing import Final

SERVER: Final = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS number,
       current_setting('max_connections')::int AS max_connections,
       current_setting('superuser_reserved_connections')::int
         + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
       (SELECT setting::float / 1000 FROM pg_settings
         WHERE name = 'idle_in_transaction_session_timeout') AS idle_in_transaction_timeout_s,
       pg_has_role('pg_read_all_stats', 'USAGE') AS can_see_all,
       extract(epoch FROM (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())) AS born
"""

# Who may not see into a session is not told its backend_type either; background processes have no user then.
ACTIVITY: Final = """
SELECT pid, datname, usename, application_name, host(client_addr) AS address, client_port AS port, state,
       extract(epoch FROM clock_timestamp() - coalesce(state_change, backend_start)) AS state_s,
       extract(epoch FROM clock_timestamp() - xact_start) AS transaction_s,
       greatest(age(backend_xmin), age(backend_xid)) AS snapshot_age,
       concat_ws(' ', wait_event_type, wait_event) AS waits_for,
       CASE WHEN wait_event_type = 'Lock'
            THEN array_to_string(pg_blocking_pids(pid), ' ') ELSE '' END AS blocked_by,
       left(regexp_replace(query, '\\s+', ' ', 'g'), 120) AS query
  FROM pg_stat_activity
 WHERE (backend_type = 'client backend' OR backend_type IS NULL AND usesysid IS NOT NULL)
   AND pid <> pg_backend_pid()
 ORDER BY pid
"""

BUSY: Final = """
SELECT datname, usename, count(*) AS backends,
       count(*) FILTER (WHERE state IN ('active', 'fastpath function call')) AS active,
       count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS held
  FROM pg_stat_activity
 WHERE (backend_type = 'client backend' OR backend_type IS NULL AND usesysid IS NOT NULL)
   AND pid <> pg_backend_pid()
 GROUP BY datname, usename
"""

# Holders of old snapshots that are no client backends.
PREPARED: Final = """
SELECT gid AS name, age(transaction) AS snapshot_age,
       extract(epoch FROM clock_timestamp() - prepared) AS held_s,
       owner || ' in ' || database AS what
  FROM pg_prepared_xacts
"""
SLOTS: Final = """
SELECT slot_name AS name, greatest(age(xmin), age(catalog_xmin)) AS snapshot_age, NULL AS held_s,
       CASE WHEN active THEN 'in use' ELSE 'not in use' END AS what
  FROM pg_replication_slots
 WHERE xmin IS NOT NULL OR catalog_xmin IS NOT NULL
"""
STANDBYS: Final = """
SELECT coalesce(nullif(application_name, ''), host(client_addr), pid::text) AS name,
       age(backend_xmin) AS snapshot_age, NULL AS held_s, 'hot_standby_feedback' AS what
  FROM pg_stat_replication
 WHERE backend_xmin IS NOT NULL
"""

# Seconds in a transaction per second of watching, since the counters were last reset. Since PostgreSQL 14.
AVERAGE: Final = """
SELECT sum((active_time + idle_in_transaction_time) / 1000
           / nullif(extract(epoch FROM clock_timestamp() - coalesce(stats_reset, first_reset)), 0)) AS busy
  FROM pg_stat_database, (SELECT min(stats_reset) FROM pg_stat_bgwriter) AS begun(first_reset)
"""
AVERAGE_SINCE: Final = 140000
