/* ds4-steer plot, and the picture of a sweep: shares over scales, one panel per mode. */
#include "base/error.h"
#include "steer-tool/steer.h"
#include "steer-tool/sweep_table.h"

#ifdef DS4_HAVE_CAIRO

#include <cairo.h>
#include <math.h>
#include <string.h>

enum {
    PANEL_WIDTH = 520,
    PANEL_HEIGHT = 330,
    LEFT = 52,
    TOP = 58,
    GAP = 40,
    LEGEND_ROW = 20,
    LEGEND_COLUMN = 200,
    GROUPS_MAX = 24
};

/* Groups with two checks are what the dial is for: two strong lines. The others are thin. */
static const double effect_colours[][3] = {
    {0.00, 0.45, 0.70}, {0.84, 0.37, 0.00}, {0.00, 0.62, 0.45}, {0.80, 0.47, 0.65}};
static const double other_colours[][3] = {
    {0.35, 0.35, 0.35}, {0.34, 0.71, 0.91}, {0.90, 0.62, 0.00}, {0.60, 0.60, 0.60},
    {0.55, 0.34, 0.29}, {0.58, 0.40, 0.74}, {0.74, 0.74, 0.13}, {0.09, 0.75, 0.81}};

typedef struct line {
    const char *group;
    bool other; /* the share of the other check */
    bool effect;
    const double *colour;
} line;

typedef struct picture {
    const ds4_sweep_table *table;
    cairo_t *cairo;
    line lines[2 * GROUPS_MAX];
    size_t n_lines;
    double least, most; /* scale */
    double left;        /* of the panel that is drawn */
} picture;

static double scale_of(const ds4_sweep_row *row) {
    return row->attn != 0 ? row->attn : row->ffn;
}

static void add_group(picture *p, const char *group) {
    bool effect = false;
    size_t n_effects = 0, n_others = 0;
    for (size_t i = 0; i < p->n_lines; i++) {
        if (strcmp(p->lines[i].group, group) == 0) return;
        n_effects += p->lines[i].effect && !p->lines[i].other;
        n_others += !p->lines[i].effect;
    }
    for (size_t i = 0; i < p->table->n; i++)
        effect = effect ||
                 (strcmp(p->table->rows[i].group, group) == 0 && p->table->rows[i].n_other > 0);
    if (p->n_lines + 2 > 2 * GROUPS_MAX) return;
    const double *colour = effect ? effect_colours[n_effects % 4] : other_colours[n_others % 8];
    p->lines[p->n_lines++] = (line){group, false, effect, colour};
    if (effect) p->lines[p->n_lines++] = (line){group, true, true, colour};
}

static double x_of(const picture *p, double scale) {
    return p->left + (scale - p->least) / (p->most - p->least) * PANEL_WIDTH;
}

static double y_of(double share) {
    return TOP + (1 - share) * PANEL_HEIGHT;
}

static void write_at(cairo_t *c, double x, double y, double align, const char *text) {
    cairo_text_extents_t size;
    cairo_text_extents(c, text, &size);
    cairo_move_to(c, x - align * size.x_advance, y);
    cairo_show_text(c, text);
}

static void draw_axes(const picture *p, ds4_steer_mode mode) {
    cairo_t *c = p->cairo;
    char label[64];
    cairo_set_line_width(c, 1);
    for (int i = 0; i <= 5; i++) {
        double y = floor(y_of(i / 5.0)) + 0.5;
        cairo_set_source_rgb(c, 0.87, 0.87, 0.87);
        cairo_move_to(c, p->left, y);
        cairo_line_to(c, p->left + PANEL_WIDTH, y);
        cairo_stroke(c);
        cairo_set_source_rgb(c, 0.2, 0.2, 0.2);
        snprintf(label, sizeof label, "%d%%", 20 * i);
        write_at(c, p->left - 6, y + 4, 1, label);
    }
    double last = -1e9;
    for (size_t i = 0; i < p->table->n; i++) {
        const ds4_sweep_row *row = &p->table->rows[i];
        double x = x_of(p, scale_of(row));
        if (row->mode != mode || x - last < 30) continue;
        last = x;
        snprintf(label, sizeof label, "%g", scale_of(row));
        write_at(c, x, TOP + PANEL_HEIGHT + 17, 0.5, label);
    }
    snprintf(label, sizeof label, "mode %s, over the scale",
             mode == DS4_STEER_ADD ? "add" : "project");
    write_at(c, p->left + PANEL_WIDTH / 2.0, TOP - 12, 0.5, label);
}

static void draw_line(const picture *p, const line *l, ds4_steer_mode mode) {
    cairo_t *c = p->cairo;
    const double dash[] = {6, 4};
    bool begun = false;
    cairo_set_source_rgb(c, l->colour[0], l->colour[1], l->colour[2]);
    cairo_set_line_width(c, l->effect ? 2.6 : 1.2);
    cairo_set_dash(c, dash, l->other ? 2 : 0, 0);
    for (size_t i = 0; i < p->table->n; i++) {
        const ds4_sweep_row *row = &p->table->rows[i];
        if (row->mode != mode || strcmp(row->group, l->group) != 0 || row->n_items == 0) continue;
        double share = (double)(l->other ? row->n_other : row->n_check) / (double)row->n_items;
        double x = x_of(p, scale_of(row)), y = y_of(share);
        if (begun)
            cairo_line_to(c, x, y);
        else
            cairo_move_to(c, x, y);
        begun = true;
    }
    cairo_stroke(c);
    cairo_set_dash(c, dash, 0, 0);
}

static void draw_legend(const picture *p, double top, int per_row) {
    cairo_t *c = p->cairo;
    const double dash[] = {6, 4};
    for (size_t i = 0; i < p->n_lines; i++) {
        const line *l = &p->lines[i];
        size_t column = i % (size_t)per_row, row = i / (size_t)per_row;
        double x = LEFT + (double)column * LEGEND_COLUMN;
        double y = top + (double)row * LEGEND_ROW;
        char label[64];
        cairo_set_source_rgb(c, l->colour[0], l->colour[1], l->colour[2]);
        cairo_set_line_width(c, l->effect ? 2.6 : 1.2);
        cairo_set_dash(c, dash, l->other ? 2 : 0, 0);
        cairo_move_to(c, x, y - 4);
        cairo_line_to(c, x + 26, y - 4);
        cairo_stroke(c);
        cairo_set_dash(c, dash, 0, 0);
        cairo_set_source_rgb(c, 0.2, 0.2, 0.2);
        snprintf(label, sizeof label, "%s%s", l->group, l->other ? ", other check" : "");
        write_at(c, x + 32, y, 0, label);
    }
}

static bool has_mode(const ds4_sweep_table *t, ds4_steer_mode mode) {
    for (size_t i = 0; i < t->n; i++)
        if (t->rows[i].mode == mode) return true;
    return false;
}

static void draw(picture *p, const char *title, int n_panels, double legend) {
    cairo_t *c = p->cairo;
    cairo_set_source_rgb(c, 1, 1, 1);
    cairo_paint(c);
    cairo_set_source_rgb(c, 0.1, 0.1, 0.1);
    cairo_select_font_face(c, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(c, 15);
    write_at(c, LEFT, 24, 0, title != NULL ? title : "Share of items whose check holds");
    cairo_set_font_size(c, 12);
    int panel = 0;
    for (int mode = 0; mode < 2; mode++) {
        if (!has_mode(p->table, (ds4_steer_mode)mode)) continue;
        p->left = LEFT + panel++ * (PANEL_WIDTH + LEFT + GAP);
        draw_axes(p, (ds4_steer_mode)mode);
        for (int effect = 0; effect < 2; effect++)
            for (size_t i = 0; i < p->n_lines; i++)
                if (p->lines[i].effect == (effect == 1))
                    draw_line(p, &p->lines[i], (ds4_steer_mode)mode);
    }
    draw_legend(p, legend, n_panels == 2 ? 5 : 2);
}

bool ds4_sweep_can_plot(void) {
    return true;
}

ds4_status ds4_sweep_plot(const ds4_sweep_table *t, const char *title, const char *path,
                          ds4_error *error) {
    picture p = {.table = t};
    for (size_t i = 0; i < t->n; i++) {
        double scale = scale_of(&t->rows[i]);
        add_group(&p, t->rows[i].group);
        if (i == 0 || scale < p.least) p.least = scale;
        if (i == 0 || scale > p.most) p.most = scale;
    }
    if (p.most <= p.least) p.most = p.least + 1;
    int n_panels = has_mode(t, DS4_STEER_PROJECT) + has_mode(t, DS4_STEER_ADD);
    int per_row = n_panels == 2 ? 5 : 2, rows = ((int)p.n_lines + per_row - 1) / per_row;
    int width = LEFT + n_panels * (PANEL_WIDTH + GAP) + (n_panels - 1) * LEFT;
    int legend = TOP + PANEL_HEIGHT + 48;
    cairo_surface_t *surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, legend + rows * LEGEND_ROW);
    p.cairo = cairo_create(surface);
    draw(&p, title, n_panels, legend);
    cairo_status_t drawn = cairo_status(p.cairo);
    if (drawn == CAIRO_STATUS_SUCCESS) drawn = cairo_surface_write_to_png(surface, path);
    cairo_destroy(p.cairo);
    cairo_surface_destroy(surface);
    if (drawn == CAIRO_STATUS_SUCCESS) return DS4_OK;
    return ds4_fail(error, DS4_IO, "cannot write %.300s: %s", path, cairo_status_to_string(drawn));
}

#else

bool ds4_sweep_can_plot(void) {
    return false;
}

ds4_status ds4_sweep_plot(const ds4_sweep_table *t, const char *title, const char *path,
                          ds4_error *error) {
    (void)t;
    (void)title;
    return ds4_fail(error, DS4_UNSUPPORTED,
                    "%.300s cannot be drawn: this ds4-steer was built without cairo; install "
                    "libcairo2-dev (Homebrew: cairo) and build again, or take --csv",
                    path);
}

#endif

/* ---- the command ---- */

typedef struct settings {
    const char *output, *title;
} settings;

int ds4_steer_plot(int argc, char **argv) {
    static const ds4_option options[] = {
        {.names = "--out -o",
         .kind = DS4_OPTION_STRING,
         .argument = "FILE.png",
         .offset = offsetof(settings, output),
         .help = "picture to write (required)"},
        {.names = "--title",
         .kind = DS4_OPTION_STRING,
         .argument = "TEXT",
         .offset = offsetof(settings, title),
         .help = "heading"},
    };
    static const ds4_program program = {.name = "ds4-steer plot",
                                        .summary = "draws what ds4-steer sweep --csv wrote",
                                        .operands = "FILE.csv",
                                        .min_operands = 1,
                                        .max_operands = 1,
                                        DS4_PROGRAM_OPTIONS(options)};
    settings chosen = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    ds4_sweep_table table = {0};
    int exit_status = EXIT_OK;
    if (!ds4_tool_parse(&program, argc, argv, &chosen, &parsed, &exit_status)) goto done;
    if (chosen.output == NULL)
        exit_status = ds4_tool_misused(&program, "--out FILE.png is needed");
    else if (ds4_sweep_table_read(parsed.operands[0], &table, &error) != DS4_OK ||
             ds4_sweep_plot(&table, chosen.title, chosen.output, &error) != DS4_OK)
        exit_status = ds4_tool_failed(&program, &error);
done:
    ds4_sweep_table_free(&table);
    ds4_options_free(&parsed);
    return exit_status;
}
