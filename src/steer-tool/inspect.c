/* ds4-steer inspect and compare: numbers of directions, without running a model. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "steer-tool/steer.h"
#include "steering/contrast.h"
#include "steering/direction.h"
#include "steering/sidecar.h"

typedef struct settings {
    const char *model;
} settings;

static const ds4_option options[] = {STEER_OPTION_MODEL(settings)};

static ds4_status open_model(const settings *s, ds4_model **model, ds4_error *error) {
    ds4_status status = ds4_file_check_model(s->model, error);
    return status == DS4_OK ? ds4_model_open(s->model, NULL, model, error) : status;
}

static ds4_status inspect(const settings *s, const char *path, ds4_error *error) {
    ds4_model *model = NULL;
    ds4_direction *direction = NULL;
    ds4_sidecar sidecar;
    ds4_strbuf warning = {0};
    ds4_status status = open_model(s, &model, error);
    if (status == DS4_OK) status = ds4_direction_open(path, model, &direction, error);
    if (status == DS4_OK) status = ds4_sidecar_read(path, &sidecar, error);
    if (status != DS4_OK) goto done;
    const ds4_direction_info *info = ds4_direction_get_info(direction);
    printf("%s: %u layers x %u, %u of them steered, norms %.6g to %.6g, fingerprint %016" PRIx64
           "\n",
           path, info->n_layers, info->n_embd, info->n_steered, (double)info->least_norm,
           (double)info->greatest_norm, info->fingerprint);
    if (!sidecar.found) puts("no sidecar");
    if (sidecar.model[0] != '\0') printf("built on %s\n", sidecar.model);
    if (sidecar.recommends)
        printf("recommended: ffn %g, attn %g, mode %s\n", (double)sidecar.ffn, (double)sidecar.attn,
               sidecar.mode == DS4_STEER_ADD ? "add" : "project");
    ds4_sidecar_compare(&sidecar, direction, model, &warning);
    if (warning.n > 0) printf("warning: %s\n", warning.data);
done:
    ds4_strbuf_free(&warning);
    ds4_direction_close(direction);
    ds4_model_close(model);
    return status;
}

int ds4_steer_inspect(int argc, char **argv) {
    static const ds4_program program = {
        .name = "ds4-steer inspect",
        .summary = "whether a direction suits a model, its norms, and what its sidecar says",
        .operands = "FILE.f32",
        .min_operands = 1,
        .max_operands = 1,
        DS4_PROGRAM_OPTIONS(options)};
    settings chosen = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&program, argc, argv, &chosen, &parsed, &exit_status) &&
        inspect(&chosen, parsed.operands[0], &error) != DS4_OK)
        exit_status = ds4_tool_failed(&program, &error);
    ds4_options_free(&parsed);
    return exit_status;
}

/* ---- compare ---- */

static void print_cosines(ds4_direction *const *directions, size_t n, uint32_t n_layers) {
    size_t n_embd = ds4_direction_get_info(directions[0])->n_embd;
    for (uint32_t l = 0; l < n_layers; l++) {
        const float *first = ds4_direction_row(directions[0], l);
        printf("%5u", l);
        for (size_t i = 1; i < n; i++) {
            const float *other = ds4_direction_row(directions[i], l);
            if (first == NULL || other == NULL)
                printf("  %8s", "-");
            else
                printf("  %8.4f", ds4_cosine(first, other, n_embd));
        }
        putchar('\n');
    }
}

static ds4_status compare(const settings *s, const ds4_options_parsed *parsed, ds4_error *error) {
    ds4_model *model = NULL;
    ds4_direction *directions[DS4_OPERANDS_MAX] = {NULL};
    ds4_status status = open_model(s, &model, error);
    for (size_t i = 0; status == DS4_OK && i < parsed->n_operands; i++)
        status = ds4_direction_open(parsed->operands[i], model, &directions[i], error);
    if (status == DS4_OK) {
        printf("layer  cosine of %s with\n     ", parsed->operands[0]);
        for (size_t i = 1; i < parsed->n_operands; i++) printf("  %s", parsed->operands[i]);
        putchar('\n');
        print_cosines(directions, parsed->n_operands,
                      ds4_direction_get_info(directions[0])->n_layers);
    }
    for (size_t i = 0; i < parsed->n_operands; i++) ds4_direction_close(directions[i]);
    ds4_model_close(model);
    return status;
}

int ds4_steer_compare(int argc, char **argv) {
    static const ds4_program program = {.name = "ds4-steer compare",
                                        .summary = "cosines of directions, layer by layer",
                                        .operands = "FIRST.f32 OTHER.f32 ...",
                                        .min_operands = 2,
                                        .max_operands = DS4_OPERANDS_MAX,
                                        DS4_PROGRAM_OPTIONS(options)};
    settings chosen = {0};
    ds4_options_parsed parsed;
    ds4_error error = {0};
    int exit_status = EXIT_OK;
    if (ds4_tool_parse(&program, argc, argv, &chosen, &parsed, &exit_status) &&
        compare(&chosen, &parsed, &error) != DS4_OK)
        exit_status = ds4_tool_failed(&program, &error);
    ds4_options_free(&parsed);
    return exit_status;
}
