/* What a sweep found: one row per dial and group of items, as CSV, as text, and as a picture. */
#ifndef DS4_STEER_TOOL_SWEEP_TABLE_H
#define DS4_STEER_TOOL_SWEEP_TABLE_H

#include <stdio.h>

#include "ds4.h"

/* Counts of items of the group under the dial, but for n_tokens. */
typedef struct ds4_sweep_row {
    ds4_steer_mode mode;
    double ffn, attn; /* both 0: no steering; then once for each mode */
    char group[24];
    uint64_t n_items;
    uint64_t n_check, n_other;       /* whose check, or other check, holds */
    uint64_t n_changed;              /* that say or call something else than without steering */
    uint64_t n_repetitive, n_broken; /* broken: a tool block that is none, or markup in the text */
    uint64_t n_thinking, n_thinking_changed;
    uint64_t n_tokens;
} ds4_sweep_row;

/* Zero-initialise; free with ds4_sweep_table_free. */
typedef struct ds4_sweep_table {
    ds4_sweep_row *rows;
    size_t n, capacity;
} ds4_sweep_table;

/* The row of this dial and group, added when there is none; NULL when out of memory. Valid until
 * the next call. */
ds4_sweep_row *ds4_sweep_row_at(ds4_sweep_table *table, ds4_steer_mode mode, double ffn,
                                double attn, const char *group);
void ds4_sweep_table_free(ds4_sweep_table *table);

ds4_status ds4_sweep_table_write(const ds4_sweep_table *table, const char *path, ds4_error *error);
/* FORMAT naming file and line. */
ds4_status ds4_sweep_table_read(const char *path, ds4_sweep_table *table, ds4_error *error);
/* One line per dial, as Markdown: per group the share of items whose check holds (behind a slash:
 * the other check), then what went wrong over all groups. */
void ds4_sweep_table_print(const ds4_sweep_table *table, FILE *file);

bool ds4_sweep_can_plot(void); /* this build can */
/* Shares over scales as a PNG file, a panel per mode. UNSUPPORTED in a build without cairo. */
ds4_status ds4_sweep_plot(const ds4_sweep_table *table, const char *title, const char *path,
                          ds4_error *error);

#endif
