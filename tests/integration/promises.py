"""What is true after a death: each row of the table in docs/operations.md, with the tests that keep it."""

from __future__ import annotations

from typing import Final

PROMISES: Final[dict[str, tuple[str, ...]]] = {
    "a worker, at any instruction": (
        "integration.test_death.test_the_death_of_a_worker_is_felt_by_its_own_clients_alone",
        "integration.test_death.test_a_client_in_a_transaction_keeps_it_when_another_worker_dies",
        "integration.test_death.test_the_idle_backends_that_a_dead_worker_used_last_go_on",
        "integration.test_death.test_who_waits_behind_a_dead_workers_clients_is_served",
        "integration.test_death.test_who_waits_for_the_backend_of_a_dead_worker_gets_another",
        "integration.test_death.test_twenty_deaths_at_any_instant_lose_no_backend_and_exceed_no_limit",
        "integration.test_death."
        "test_who_comes_to_the_accept_queue_of_a_worker_that_does_not_accept_is_served_by_another",
        "integration.test_death.test_a_worker_that_does_not_move_is_replaced",
        "model.test_leases.test_nothing_can_go_wrong",
        "chaos.test_deaths.test_workers_that_are_killed_under_load_lose_nothing",
    ),
    "the supervisor": (
        "integration.test_death."
        "test_when_the_supervisor_is_killed_its_workers_finish_and_another_pgmux_can_start",
    ),
    "a backend": (
        "integration.test_unreachable.test_a_client_whose_backend_is_terminated_hears_what_postgresql_said",
        "integration.test_unreachable."
        "test_a_client_whose_backend_is_killed_hears_that_the_connection_was_lost",
        "integration.test_unreachable.test_nobody_notices_that_idle_backends_are_terminated",
        "relay.test_lease_discipline.test_a_backend_that_ends_right_behind_its_answer_is_told_to_nobody",
        "relay.test_lease_discipline."
        "test_a_backend_that_ends_while_we_tidy_up_after_its_client_is_told_to_nobody",
    ),
    "PostgreSQL": (
        "integration.test_unreachable.test_idle_clients_do_not_notice_a_restart_of_postgresql",
        "integration.test_unreachable.test_a_client_in_a_transaction_hears_what_postgresql_said",
        "integration.test_failover.test_who_waits_while_postgresql_is_away_is_served_when_it_is_back",
        "integration.test_failover.test_who_has_waited_long_enough_is_told_why",
    ),
    "a client": (
        "integration.test_saturation.test_who_vanishes_in_a_running_query_has_it_cancelled",
        "integration.test_saturation.test_who_vanishes_in_a_transaction_has_it_rolled_back",
        "integration.test_saturation.test_who_vanishes_in_the_middle_of_something_leaves_a_clean_backend",
    ),
    "a client that still waits for a backend": (
        "integration.test_saturation."
        "test_who_leaves_while_waiting_is_let_go_and_what_was_asked_is_not_executed",
    ),
}
