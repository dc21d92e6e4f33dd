/* The sub-commands of ds4-gguf. Each takes the words after its name and returns the exit status of
 * the program. */
#ifndef DS4_GGUF_TOOL_TOOL_H
#define DS4_GGUF_TOOL_TOOL_H

#include "tool/tool.h"

int ds4_tool_inspect(int argc, char **argv);
int ds4_tool_verify(int argc, char **argv);
int ds4_tool_convert(int argc, char **argv);
int ds4_tool_quantize(int argc, char **argv);
int ds4_tool_splice(int argc, char **argv);
int ds4_tool_compare(int argc, char **argv);
int ds4_tool_split(int argc, char **argv);
int ds4_tool_merge(int argc, char **argv);
int ds4_tool_extract_tokenizer(int argc, char **argv);
int ds4_tool_synth(int argc, char **argv);
int ds4_tool_imatrix(int argc, char **argv);
int ds4_tool_score(int argc, char **argv);

#endif
