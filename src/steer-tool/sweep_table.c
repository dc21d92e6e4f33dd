#include "steer-tool/sweep_table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "steering/dial.h"

enum { MAX_FILE_BYTES = 1 << 26 };

static const char header[] = "mode,ffn,attn,group,items,check,other,changed,repetitive,broken,"
                             "thinking,thinking_changed,tokens\n";

ds4_sweep_row *ds4_sweep_row_at(ds4_sweep_table *t, ds4_steer_mode mode, double ffn, double attn,
                                const char *group) {
    for (size_t i = 0; i < t->n; i++) {
        ds4_sweep_row *row = &t->rows[i];
        if (row->mode == mode && row->ffn == ffn && row->attn == attn &&
            strcmp(row->group, group) == 0)
            return row;
    }
    if (t->n == t->capacity) {
        size_t capacity = t->capacity > 0 ? 2 * t->capacity : 64;
        ds4_sweep_row *grown = realloc(t->rows, capacity * sizeof *grown);
        if (grown == NULL) return NULL;
        t->rows = grown;
        t->capacity = capacity;
    }
    t->rows[t->n] = (ds4_sweep_row){.mode = mode, .ffn = ffn, .attn = attn};
    snprintf(t->rows[t->n].group, sizeof t->rows[t->n].group, "%s", group);
    return &t->rows[t->n++];
}

void ds4_sweep_table_free(ds4_sweep_table *t) {
    free(t->rows);
    *t = (ds4_sweep_table){0};
}

/* ---- CSV ---- */

static uint64_t *counts_of(ds4_sweep_row *row, size_t i) {
    uint64_t *const counts[] = {
        &row->n_items,      &row->n_check,  &row->n_other,    &row->n_changed,
        &row->n_repetitive, &row->n_broken, &row->n_thinking, &row->n_thinking_changed,
        &row->n_tokens};
    return i < sizeof counts / sizeof counts[0] ? counts[i] : NULL;
}

ds4_status ds4_sweep_table_write(const ds4_sweep_table *t, const char *path, ds4_error *error) {
    FILE *file = fopen(path, "w");
    bool good = file != NULL && fputs(header, file) >= 0;
    for (size_t i = 0; good && i < t->n; i++) {
        ds4_sweep_row row = t->rows[i];
        good = fprintf(file, "%s,%.6g,%.6g,%s", ds4_steer_mode_name(row.mode), row.ffn, row.attn,
                       row.group) > 0;
        for (size_t c = 0; good && counts_of(&row, c) != NULL; c++)
            good = fprintf(file, ",%" PRIu64, *counts_of(&row, c)) > 0;
        good = good && fputc('\n', file) != EOF;
    }
    if (file != NULL) good = fclose(file) == 0 && good;
    return good ? DS4_OK
                : ds4_fail(error, DS4_IO, "cannot write %.300s: %s", path, strerror(errno));
}

static bool read_row(char *line, ds4_sweep_row *row) {
    char *rest = NULL, *mode = strtok_r(line, ",", &rest), *field = strtok_r(NULL, ",", &rest),
         *end;
    *row = (ds4_sweep_row){0};
    if (mode == NULL || field == NULL) return false;
    row->mode = strcmp(mode, "add") == 0 ? DS4_STEER_ADD : DS4_STEER_PROJECT;
    if (strcmp(mode, ds4_steer_mode_name(row->mode)) != 0) return false;
    row->ffn = strtod(field, &end);
    field = strtok_r(NULL, ",", &rest);
    if (*end != '\0' || field == NULL) return false;
    row->attn = strtod(field, &end);
    field = strtok_r(NULL, ",", &rest);
    if (*end != '\0' || field == NULL || strlen(field) >= sizeof row->group) return false;
    snprintf(row->group, sizeof row->group, "%s", field);
    for (size_t c = 0; counts_of(row, c) != NULL; c++) {
        field = strtok_r(NULL, ",", &rest);
        if (field == NULL || field[strspn(field, "0123456789")] != '\0') return false;
        *counts_of(row, c) = strtoull(field, &end, 10);
    }
    return strtok_r(NULL, ",", &rest) == NULL;
}

ds4_status ds4_sweep_table_read(const char *path, ds4_sweep_table *t, ds4_error *error) {
    ds4_strbuf text = {0};
    size_t number = 1;
    ds4_status status = ds4_file_read(path, MAX_FILE_BYTES, &text, error);
    if (status == DS4_OK &&
        (text.n < sizeof header - 1 || memcmp(text.data, header, sizeof header - 1) != 0))
        status = ds4_fail(error, DS4_FORMAT, "%.300s does not begin as a sweep's table", path);
    char *rest = NULL;
    char *line = status == DS4_OK ? strtok_r(text.data + sizeof header - 1, "\n", &rest) : NULL;
    for (; status == DS4_OK && line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        ds4_sweep_row row;
        number++;
        if (!read_row(line, &row)) {
            status = ds4_fail(error, DS4_FORMAT, "%.300s line %zu is no row of a sweep's table",
                              path, number);
            break;
        }
        ds4_sweep_row *at = ds4_sweep_row_at(t, row.mode, row.ffn, row.attn, row.group);
        if (at == NULL) status = ds4_fail_memory(error, sizeof row, "a table");
        if (at != NULL) *at = row;
    }
    if (status == DS4_OK && t->n == 0)
        status = ds4_fail(error, DS4_FORMAT, "%.300s has no rows", path);
    ds4_strbuf_free(&text);
    return status;
}

/* ---- text ---- */

static bool same_dial(const ds4_sweep_row *a, const ds4_sweep_row *b) {
    return a->mode == b->mode && a->ffn == b->ffn && a->attn == b->attn;
}

static double percent(uint64_t part, uint64_t whole) {
    return whole > 0 ? 100 * (double)part / (double)whole : 0;
}

static bool has_other(const ds4_sweep_table *t, const char *group) {
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->rows[i].group, group) == 0 && t->rows[i].n_other > 0) return true;
    return false;
}

static void print_dial(const ds4_sweep_table *t, size_t first, FILE *file) {
    const ds4_sweep_row *dial = &t->rows[first];
    ds4_sweep_row all = {0};
    fprintf(file, "| %s | %.6g | %.6g |", ds4_steer_mode_name(dial->mode), dial->ffn, dial->attn);
    for (size_t i = first; i < t->n; i++) {
        const ds4_sweep_row *row = &t->rows[i];
        if (!same_dial(row, dial)) continue;
        fprintf(file, " %.1f", percent(row->n_check, row->n_items));
        if (has_other(t, row->group)) fprintf(file, " / %.1f", percent(row->n_other, row->n_items));
        fputs(" |", file);
        all.n_items += row->n_items;
        all.n_repetitive += row->n_repetitive;
        all.n_broken += row->n_broken;
        all.n_thinking += row->n_thinking;
        all.n_thinking_changed += row->n_thinking_changed;
    }
    fprintf(file, " %.1f | %.1f | %.1f |\n", percent(all.n_repetitive, all.n_items),
            percent(all.n_broken, all.n_items), percent(all.n_thinking_changed, all.n_thinking));
}

void ds4_sweep_table_print(const ds4_sweep_table *t, FILE *file) {
    size_t n_groups = 0;
    fputs("| mode | ffn | attn |", file);
    for (size_t i = 0; i < t->n && same_dial(&t->rows[i], &t->rows[0]); i++, n_groups++)
        fprintf(file, " %s (%" PRIu64 ") |", t->rows[i].group, t->rows[i].n_items);
    fputs(" repetitive | broken calls | thinking changed |\n|", file);
    for (size_t i = 0; i < n_groups + 6; i++) fputs(" --- |", file);
    fputc('\n', file);
    for (size_t i = 0; i < t->n; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++) seen = same_dial(&t->rows[k], &t->rows[i]);
        if (!seen) print_dial(t, i, file);
    }
}
