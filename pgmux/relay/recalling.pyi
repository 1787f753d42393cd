"""What a session may recall of its sequences: lastval() and currval()."""

from pgmux.relay.auditing import Auditing

class Recalling(Auditing):
    """The last values of sequences on a worker's backends."""

    reserves_for_us: int  # last_value_reserve; 0 = none is reserved
