/* tar_parts.h - small tar archives in memory, for tests and fuzzing. */
#ifndef VM_TAR_PARTS_H
#define VM_TAR_PARTS_H
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Appends one member; returns the new length. out must have room for 1024 + bytes + 511. */
static inline size_t tar_put(uint8_t *out, size_t at, const char *name, char type, const void *data, size_t bytes) {
    uint8_t *h = out + at;
    unsigned sum = 0;
    memset(h, 0, 512);
    memcpy(h, name, strlen(name) < 100 ? strlen(name) : 100);
    snprintf((char *)h + 100, 8, "%07o", 0644u);
    snprintf((char *)h + 124, 12, "%011o", (unsigned)bytes);
    memset(h + 148, ' ', 8);
    h[156] = (uint8_t)type;
    memcpy(h + 257, "ustar\00000", 8);
    for (int k = 0; k < 512; k++) sum += h[k];
    snprintf((char *)h + 148, 8, "%06o", sum);
    memcpy(h + 512, data, bytes);
    size_t padded = (bytes + 511) / 512 * 512;
    memset(h + 512 + bytes, 0, padded - bytes);
    return at + 512 + padded;
}
static inline size_t tar_finish(uint8_t *out, size_t at) {
    memset(out + at, 0, 1024);
    return at + 1024;
}
/* After a change of a header at h: its sum again. */
static inline void tar_sum(uint8_t *h) {
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (int k = 0; k < 512; k++) sum += h[k];
    snprintf((char *)h + 148, 8, "%06o", sum);
}
#endif
