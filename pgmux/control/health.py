"""Whether pgmux can serve: what load balancers and Kubernetes ask."""

from pgmux.control.figures import Figures


def find_obstacles(figures: Figures) -> list[str]:
    """Why a new client could not be served now, a sentence each; none = ready.

    A pause is no obstacle: clients wait for its end. Nor is a database that cannot be reached, as long as
    another can be.
    """
    workers = [worker for worker in figures.workers() if worker.pid]
    if not any(worker.is_accepting for worker in workers):
        return ["No worker takes new clients: pgmux shuts down."]
    pools = figures.survey().pools
    usable = [pool for pool in pools if not pool.trouble or pool.free + pool.serving]
    if pools and not usable:
        return [
            f"PostgreSQL cannot be used for {pool.database}/{pool.user}: {pool.trouble}" for pool in pools
        ]
    return []
