"""Sequentially consistent operations on words that several processes share.

The C behind these names is atomics.h; no other file of pgmux holds any.
"""
from libc.stdint cimport uint64_t

cdef extern from "atomics.h" nogil:
    uint64_t load "pgmux_load"(const uint64_t *word) noexcept
    void store "pgmux_store"(uint64_t *word, uint64_t value) noexcept
    bint swap "pgmux_swap"(uint64_t *word, uint64_t seen, uint64_t next) noexcept  # compare-and-swap
    uint64_t exchange "pgmux_exchange"(uint64_t *word, uint64_t value) noexcept
    uint64_t or_bits "pgmux_or"(uint64_t *word, uint64_t bits) noexcept            # gives the word before
    uint64_t and_bits "pgmux_and"(uint64_t *word, uint64_t bits) noexcept          # gives the word before
    int lowest_bit "pgmux_lowest_bit"(uint64_t word) noexcept                      # word must not be 0
    int log2_of "pgmux_log2"(uint64_t value) noexcept
    uint64_t now_us "pgmux_now_us"() noexcept                                      # CLOCK_MONOTONIC
    int mutex_init "pgmux_mutex_init"(void *where) noexcept
    int mutex_lock "pgmux_mutex_lock"(void *where) noexcept
    void mutex_unlock "pgmux_mutex_unlock"(void *where) noexcept
