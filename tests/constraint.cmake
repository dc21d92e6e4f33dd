# Structured output against a validator that is not ours: documents that grammars let pass go to ajv (npm).
add_executable(schema_probe ${CMAKE_CURRENT_SOURCE_DIR}/constraint/schema_probe.c)
target_link_libraries(schema_probe PRIVATE ds4_flags ds4_constraint PkgConfig::JSONC)
find_program(NODE node)
if(NODE)
  add_test(NAME oracle/schema COMMAND ${NODE} --test ${CMAKE_CURRENT_SOURCE_DIR}/oracle/schema.test.mjs)
  set_tests_properties(oracle/schema PROPERTIES LABELS oracle TIMEOUT 600 ENVIRONMENT
    "DS4_SCHEMA_PROBE=$<TARGET_FILE:schema_probe>;DS4_NANO=${CMAKE_SOURCE_DIR}/models/nano/ds4-nano.gguf")
endif()
add_executable(bench_masks ${CMAKE_CURRENT_SOURCE_DIR}/bench/bench_masks.c)
target_link_libraries(bench_masks PRIVATE ds4_flags ds4_constraint ds4_sample PkgConfig::JSONC)
