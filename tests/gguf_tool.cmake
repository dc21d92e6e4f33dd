# ds4-gguf without its main(), so that tests can call the commands and their parts.
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/gguf-tool/*.c)
list(FILTER sources EXCLUDE REGEX "/main\\.c$")
add_library(ds4_gguf_tool STATIC ${sources})
target_link_libraries(ds4_gguf_tool PUBLIC ds4_flags ds4_tool ds4_imatrix ds4_chat ds4_model ds4_gguf ds4_quant ds4_base PkgConfig::JSONC)
ds4_tests(unit/gguf_tool unit DEPS ds4_gguf_tool)
