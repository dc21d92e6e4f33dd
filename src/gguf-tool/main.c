/* ds4-gguf: looks into, checks and makes GGUF files of deepseek4 models. */
#include "gguf-tool/tool.h"

static const ds4_tool_command commands[] = {
    {{"inspect", "what a GGUF file holds"}, ds4_tool_inspect},
    {{"verify", "whether a GGUF file is sound; names every problem"}, ds4_tool_verify},
    {{"convert", "official safetensors checkpoint to GGUF"}, ds4_tool_convert},
    {{"quantize", "the same model with other types"}, ds4_tool_quantize},
    {{"splice", "a file with some tensors of another"}, ds4_tool_splice},
    {{"compare", "what differs between two files"}, ds4_tool_compare},
    {{"split", "one file as several smaller ones"}, ds4_tool_split},
    {{"merge", "the parts of a split file as one again"}, ds4_tool_merge},
    {{"extract-tokenizer", "the tokenizer of a file as tokenizer.json"},
     ds4_tool_extract_tokenizer},
    {{"synth", "valid model with seeded random weights"}, ds4_tool_synth},
    {{"score", "judge a model by reference answers"}, ds4_tool_score},
    {{"imatrix", "importance matrices: collect, show, merge"}, ds4_tool_imatrix},
};

int main(int argc, char **argv) {
    const ds4_program program = {
        .name = "ds4-gguf",
        .summary = "look into, check and make GGUF model files",
        .description = "Each command has its own --help. Exit status: 0 done, 1 failed or unsound "
                       "file, 2 wrong usage.",
    };
    return ds4_tool_dispatch(&program, commands, sizeof commands / sizeof commands[0], argc, argv);
}
