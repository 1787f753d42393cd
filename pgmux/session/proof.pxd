from pgmux.protocol.scram_server cimport ScramServer


cdef class Proof:
    cdef object doors
    cdef str user
    cdef object secret                   # what the proof is compared with; None = the user is unknown
    cdef readonly str doubt              # why this user cannot succeed, whatever he proves; "" = there is none
    cdef readonly object credential      # what a right proof has yielded; None = nothing, or none was right yet
    cdef bytes md5_salt                  # b"" = a password is asked for, or SCRAM
    cdef ScramServer scram

    cdef bytes demand(self, str method, bytes end_point)
    cdef bytes offer_sasl(self, bytes end_point)
    cdef bint is_sasl(self) noexcept
    cdef Py_ssize_t longest_answer(self) noexcept
    cdef bint check_password(self, bytes body) except -1
    cdef bytes challenge(self, bytes body)
    cdef bytes verify(self, bytes body)

cdef bytes take_answer(bytearray received, Py_ssize_t max_bytes)
