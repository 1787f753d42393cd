"""The proof of a secret that a client is asked for: a password, the answer to an md5 salt, or SCRAM."""

from typing import Final

from pgmux.session.doors import Doors
from pgmux.session.secret import Credential, Secret

MAX_PASSWORD_BYTES: Final[int]
MAX_MD5_BYTES: Final[int]
MAX_SASL_BYTES: Final[int]

class Proof:
    """One client's proof: what asks for it, and what its answers are worth."""

    def __init__(self, doors: Doors, user: str, secret: Secret | None) -> None:
        """`secret`: None for an unknown user, who is asked like the others and cannot succeed."""

    @property
    def doubt(self) -> str: ...
    @property
    def credential(self) -> Credential | None: ...
