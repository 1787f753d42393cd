/* Latencies as counts: exact to three per cent from one unit to 2^63, in 16 kB. */
#include "crowd.h"

enum { FRACTION_BITS = 5, FRACTIONS = 1 << FRACTION_BITS };

static int bucket_of(uint64_t value)
{
    if (value < FRACTIONS)
        return value;
    int shift = 63 - __builtin_clzll(value) - FRACTION_BITS;
    return (shift + 1) * FRACTIONS + (value >> shift) - FRACTIONS;
}

/* The middle of a bucket. */
static double value_of(int bucket)
{
    if (bucket < FRACTIONS)
        return bucket;
    int shift = bucket / FRACTIONS - 1;
    return ((double)(bucket % FRACTIONS + FRACTIONS) + 0.5) * (double)(1ull << shift);
}

void add(struct histogram *histogram, uint64_t value)
{
    histogram->counts[bucket_of(value)]++;
    histogram->total++;
    if (value > histogram->highest)
        histogram->highest = value;
}

double percentile(const struct histogram *histogram, double percent)
{
    uint64_t below = 0, wanted = histogram->total * percent / 100;
    for (int bucket = 0; bucket < 64 * FRACTIONS; bucket++)
        if ((below += histogram->counts[bucket]) > wanted)
            return value_of(bucket) < histogram->highest ? value_of(bucket) : histogram->highest;
    return histogram->highest;
}
