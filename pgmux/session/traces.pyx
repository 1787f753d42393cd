# cython: boundscheck=False, wraparound=False
"""What a statement's text may leave behind in its session: one pass over it, a word at a time.

Nothing is parsed. Strings, comments and dollar quotes are stepped over, each word is looked up
by its first eight letters if its first and its length are those of one that counts, and what is
found is a suspicion: too many of them cost a question to the backend, one too few would be a leak.
So the words that say what a statement is count only where a statement begins, and those that name
a thing (set_config, an advisory lock, TEMP) count wherever they stand, in a quoted name and in a
dollar quote too.

Manual: chapter "SQL Syntax", section "Lexical Structure".
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "string.h" nogil:
    void *memmem(const void *haystack, size_t size, const void *needle, size_t needle_size)

cdef enum:
    PACKED = 8                   # letters of a word that are looked at

cdef enum Class:                 # of a byte
    SPACE = 0
    LETTER = 1                   # may be in a word; digits and $ too, which cannot begin one
    OTHER = 2
    QUOTE = 3                    # ' " $ - / ; begin something else, or end a statement

cdef uint8_t CLASSES[256]
for _byte in range(256):
    CLASSES[_byte] = (SPACE if _byte in b" \t\n\r\f\v" else LETTER if _byte >= 128 or bytes([_byte]).isalnum()
                      or _byte == ord("_") else QUOTE if _byte in b"'\"$-/;" else OTHER)

FIRST = {                        # at the beginning of a statement
    "set": SETTINGS, "reset": SETTINGS, "discard": DISCARDING | FREEING,
    "listen": LISTENING, "unlisten": LISTENING,
    "prepare": NAMES, "execute": NAMES, "deallocate": NAMES,
    "load": LOADING, "do": UNSEEN, "call": UNSEEN, "drop": FREEING, "close": FREEING,
    "begin": BLOCK, "start": BLOCK, "abort": BLOCK | FREEING, "rollback": BLOCK | FREEING,
    "commit": BLOCK | FREEING, "end": BLOCK | FREEING, "notify": NOTIFYING,
    "insert": ADVANCING, "with": ADVANCING, "merge": ADVANCING, "copy": ADVANCING,
}
ANYWHERE = {
    "set_config": SETTINGS, "temp": TEMPORARY, "temporary": TEMPORARY, "hold": HOLDING, "execute": NAMES,
    "pg_temp": TEMPORARY, "pg_notify": NOTIFYING, "database": EMPTYING,
    "nextval": ADVANCING, "lastval": RECALLING, "currval": RECALLING,
}

cdef enum:
    MOST_WORDS = 64

cdef enum Place:                 # where words with some first letter may count; bits
    ANY = 1
    BEGINNING = 2

cdef struct Word:
    uint64_t packed
    uint32_t traces
    bint begins                  # counts only where a statement begins

cdef Word WORDS[MOST_WORDS]      # by their first letters
cdef uint8_t PLACES[256]         # of words by their first letter, small: bits of Place
cdef uint16_t LENGTHS[256]       # of words by their first letter: bit n for n letters, bit PACKED for more, too
cdef uint8_t FIRST_OF[256]       # the first of WORDS with this letter
cdef uint8_t COUNT_OF[256]       # how many there are
cdef uint8_t SMALL[256]          # a byte that may go on a word, $ included, in small letters; else 0
cdef uint32_t _count = 0

_all = [(_word, _traces, True) for _word, _traces in FIRST.items()]
_all += [(_word, _traces, False) for _word, _traces in ANYWHERE.items()]
for _word, _traces, _begins in sorted(_all):
    WORDS[_count].packed = int.from_bytes(_word.encode()[:PACKED], "big")
    WORDS[_count].traces = _traces
    WORDS[_count].begins = _begins
    PLACES[ord(_word[0])] |= BEGINNING if _begins else ANY
    LENGTHS[ord(_word[0])] |= 1 << min(len(_word), PACKED)
    if COUNT_OF[ord(_word[0])] == 0:
        FIRST_OF[ord(_word[0])] = _count
    COUNT_OF[ord(_word[0])] += 1
    _count += 1
PLACES[ord("p")] |= ANY          # pg_advisory_…, pg_try_advisory_…
LENGTHS[ord("p")] |= 1 << PACKED
PLACES[ord("e")] |= ANY          # E'…', a string with escapes
LENGTHS[ord("e")] |= 1 << 1
for _byte in range(256):
    if CLASSES[_byte] == LETTER or _byte == ord("$"):
        SMALL[_byte] = bytes([_byte]).lower()[0]

cdef enum:
    LEARNT_CELLS = 4096          # a power of two, at most half full

cdef uint64_t LEARNT_NAMES[LEARNT_CELLS]     # digests of the names that were learnt; 0 = vacant
cdef uint32_t _learnt = 0
cdef uint64_t BASIS = 0xCBF29CE484222325      # FNV-1a
cdef uint64_t PRIME = 0x100000001B3

cdef enum:
    SELECT_BYTES = 7             # "select ", with which most texts begin: no word that counts

cdef uint64_t SELECT = 0, SMALL_BITS = 0     # in the order of memory
memcpy(&SELECT, <const char *>b"select \0", 8)
memcpy(&SMALL_BITS, <const char *>b"\x20\x20\x20\x20\x20\x20\x20\0", 8)
cdef uint64_t SELECT_MASK = 0
memcpy(&SELECT_MASK, <const char *>b"\xff\xff\xff\xff\xff\xff\xff\0", 8)

cdef uint64_t ADVISORY = int.from_bytes(b"pg_advis", "big")
cdef uint64_t TRY_ADVISORY = int.from_bytes(b"pg_try_a", "big")


cdef uint32_t find_traces(const char *text, size_t size, bint backslashes) noexcept nogil:
    """The traces of a text, bits of Trace. `backslashes`: strings have escapes though they do not say E."""
    cdef uint32_t traces = 0
    cdef size_t at = 0, start
    cdef uint8_t byte, letter
    cdef bint begins = True
    cdef uint64_t head
    if size > SELECT_BYTES:
        memcpy(&head, text, 8)
        if (head | SMALL_BITS) & SELECT_MASK == SELECT:
            at = SELECT_BYTES
            begins = False
    while at < size:
        byte = text[at]
        if CLASSES[byte] == LETTER:
            start = at
            letter = SMALL[byte]
            at = _skip_word(text, at, size)
            if PLACES[letter] & (BEGINNING | ANY if begins else ANY) and LENGTHS[letter] >> min(at - start, PACKED) & 1:
                if letter == c"e" and at == start + 1 and at < size and text[at] == c"'":
                    at = _skip_string(text, at, size, True)
                else:
                    traces |= _look_up(_pack(text, start, at), letter, text + start, at - start, begins)
            begins = False
        elif CLASSES[byte] == SPACE:
            at += 1
        elif byte == c";":
            begins = True
            at += 1
        elif byte == c"'":
            at = _skip_string(text, at, size, backslashes)
            begins = False
        elif byte == c'"':
            start = at + 1
            at = _after(text, start, size, b'"', 1)
            traces |= _look_inside(text + start, at - start)
            begins = False
        elif byte == c"$":
            start = at
            at = _skip_dollar_quote(text, at, size)
            if at > start + 1:
                traces |= _look_inside(text + start, at - start)
            begins = False
        elif byte == c"-" and at + 1 < size and text[at + 1] == c"-":
            at = _after(text, at, size, b"\n", 1)
        elif byte == c"/" and at + 1 < size and text[at + 1] == c"*":
            at = _skip_comment(text, at, size)
        else:
            if byte != c"(":
                begins = False
            at += 1
    return traces


cdef inline size_t _skip_word(const char *text, size_t at, size_t size) noexcept nogil:
    """The place behind a word that begins at `at`."""
    while at < size and SMALL[<uint8_t>text[at]]:
        at += 1
    return at


cdef inline uint64_t _pack(const char *text, size_t at, size_t end) noexcept nogil:
    """The first letters of a word, small, as one number."""
    cdef size_t stop = min(end, at + PACKED)
    cdef uint64_t packed = 0
    while at < stop:
        packed = packed << 8 | SMALL[<uint8_t>text[at]]
        at += 1
    return packed


cdef uint32_t _look_up(uint64_t packed, uint8_t letter, const char *word, size_t size, bint begins) noexcept nogil:
    cdef uint32_t at, traces = 0
    for at in range(FIRST_OF[letter], <uint32_t>FIRST_OF[letter] + COUNT_OF[letter]):
        if WORDS[at].packed == packed and (begins or not WORDS[at].begins):
            traces |= WORDS[at].traces
    if packed == ADVISORY or packed == TRY_ADVISORY:
        if memmem(word, size, b"unlock", 6) != NULL:
            traces |= FREEING
        elif memmem(word, size, b"xact", 4) == NULL and memmem(word, size, b"XACT", 4) == NULL:
            traces |= LOCKING
    if _learnt and LEARNT_NAMES[_cell_of(word, size)]:
        traces |= LEARNT
    return traces


cdef inline uint64_t _digest(const char *word, size_t size) noexcept nogil:
    cdef uint64_t digest = BASIS
    cdef size_t at
    for at in range(size):
        digest = (digest ^ SMALL[<uint8_t>word[at]]) * PRIME
    return digest | 1


cdef uint32_t _cell_of(const char *word, size_t size) noexcept nogil:
    """The cell of a name that was learnt, or the vacant one where it would stand."""
    cdef uint64_t digest = _digest(word, size)
    cdef uint32_t at = (digest >> 20) & (LEARNT_CELLS - 1)
    while LEARNT_NAMES[at] and LEARNT_NAMES[at] != digest:
        at = (at + 1) & (LEARNT_CELLS - 1)
    return at


cdef uint32_t _look_inside(const char *text, size_t size) noexcept nogil:
    """The words in a quoted name or a dollar quote: only those that count anywhere."""
    cdef uint32_t traces = 0
    cdef size_t at = 0, start
    cdef uint64_t packed
    while at < size:
        if CLASSES[<uint8_t>text[at]] != LETTER:
            at += 1
            continue
        start = at
        packed = 0
        while at < size and CLASSES[<uint8_t>text[at]] == LETTER:
            if at - start < PACKED:
                packed = packed << 8 | SMALL[<uint8_t>text[at]]
            at += 1
        traces |= _look_up(packed, SMALL[<uint8_t>text[start]], text + start, at - start, False) & ~<uint32_t>NAMES
    return traces


cdef size_t _after(const char *text, size_t at, size_t size, const char *end, size_t end_size) noexcept nogil:
    """The place behind the next `end`; the end of the text when there is none."""
    cdef const char *found = <const char *>memmem(text + at, size - at, end, end_size) if at < size else NULL
    return size if found == NULL else <size_t>(found - text) + end_size


cdef size_t _skip_string(const char *text, size_t at, size_t size, bint escapes) noexcept nogil:
    """The place behind a string that begins at `at`. A doubled quote reads as two strings, which is as good."""
    at += 1
    if not escapes:
        return _after(text, at, size, b"'", 1)
    while at < size:
        if text[at] == c"\\":
            at += 2
        elif text[at] == c"'":
            if at + 1 < size and text[at + 1] == c"'":
                at += 2
            else:
                return at + 1
        else:
            at += 1
    return size


cdef size_t _skip_dollar_quote(const char *text, size_t at, size_t size) noexcept nogil:
    """The place behind a dollar quote that begins at `at`; behind the $ alone when none does."""
    cdef size_t end = at + 1
    while end < size and CLASSES[<uint8_t>text[end]] == LETTER and not (end == at + 1 and b"0" <= text[end] <= b"9"):
        end += 1
    if end >= size or text[end] != c"$":
        return at + 1
    return _after(text, end + 1, size, text + at, end + 1 - at)


cdef size_t _skip_comment(const char *text, size_t at, size_t size) noexcept nogil:
    """The place behind a comment /* … */ that begins at `at`; such comments nest."""
    cdef uint32_t depth = 0
    while at + 1 < size:
        if text[at] == c"/" and text[at + 1] == c"*":
            depth += 1
            at += 2
        elif text[at] == c"*" and text[at + 1] == c"/":
            depth -= 1
            at += 2
            if depth == 0:
                return at
        else:
            at += 1
    return size


def learn(names):
    """Texts that say one of these names are traced from now on, in this process. Gives those that are new."""
    global _learnt
    cdef uint32_t cell
    news = []
    for name in names:
        cell = _cell_of(name, len(name))
        if name and not LEARNT_NAMES[cell] and 2 * _learnt < LEARNT_CELLS:
            LEARNT_NAMES[cell] = _digest(name, len(name))
            PLACES[SMALL[<uint8_t>name[0]]] |= ANY
            LENGTHS[SMALL[<uint8_t>name[0]]] |= 1 << min(len(name), PACKED)
            _learnt += 1
            news.append(name)
    return news


def traces_of(bytes text, bint backslashes=False):
    """The traces of a text, bits of Trace. For what happens once per statement, and for tests."""
    return find_traces(text, len(text), backslashes)
