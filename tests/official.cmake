# A checkpoint in the official layout (FP8, FP4, two shards), made by a script, must become the model that NumPy makes
# of it: F32 files equal byte for byte, logits equal to golden ones. Included from tests/CMakeLists.txt.
set(official ${CMAKE_CURRENT_BINARY_DIR}/official)
set(script ${CMAKE_CURRENT_SOURCE_DIR}/oracle/official.py)
foreach(candidate python3 /usr/bin/python3)
  execute_process(COMMAND ${candidate} -c "import numpy" RESULT_VARIABLE has_no_numpy OUTPUT_QUIET ERROR_QUIET)
  if("${has_no_numpy}" STREQUAL "0" AND NOT DS4_PYTHON)
    set(DS4_PYTHON ${candidate})
  endif()
endforeach()
if(NOT DS4_PYTHON)
  message(WARNING "no Python with NumPy (scripts/deps.sh installs it): test_oracle_hf will miss its official checkpoint")
  set(DS4_PYTHON python3)
endif()

# official_test(name COMMAND ... [AFTER ...])
function(official_test name)
  cmake_parse_arguments(T "" "" "COMMAND;AFTER" ${ARGN})
  add_test(NAME oracle/official-${name} COMMAND ${T_COMMAND})
  set_tests_properties(oracle/official-${name} PROPERTIES LABELS oracle FIXTURES_SETUP converted)
  foreach(before ${T_AFTER})
    set_property(TEST oracle/official-${name} APPEND PROPERTY DEPENDS oracle/official-${before})
  endforeach()
endfunction()

official_test(make COMMAND ${DS4_PYTHON} ${script} make ${CMAKE_CURRENT_SOURCE_DIR}/fixtures/oracle/hf-b
                           ${official}/fp8/model-0731)
official_test(dequantize AFTER make COMMAND ${DS4_PYTHON} ${script} dequantize ${official}/fp8/model-0731
                                            ${official}/f32/model-0731)
official_test(convert AFTER make COMMAND ds4-gguf convert ${official}/fp8/model-0731 --no-tokenizer --recipe f32 --force
                                         -o ${CMAKE_CURRENT_BINARY_DIR}/official-f32.gguf)
official_test(convert-dequantized AFTER dequantize COMMAND ds4-gguf convert ${official}/f32/model-0731 --no-tokenizer
                                                           --recipe f32 --force -o ${official}/dequantized.gguf)
official_test(equal-bytes AFTER convert convert-dequantized
              COMMAND ${CMAKE_COMMAND} -E compare_files ${CMAKE_CURRENT_BINARY_DIR}/official-f32.gguf
                      ${official}/dequantized.gguf)
# FP4 experts survive MXFP4 without loss.
official_test(convert-mxfp4 AFTER make COMMAND ds4-gguf convert ${official}/fp8/model-0731 --no-tokenizer --recipe f32
                                               --type *_exps.weight=mxfp4 --force
                                               -o ${CMAKE_CURRENT_BINARY_DIR}/official-mxfp4.gguf)
