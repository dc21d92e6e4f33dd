# Each kernels_<set>.c and quantize_<set>.c is compiled with its own instruction set; select.c asks the CPU before any of it runs.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(${CMAKE_SOURCE_DIR}/src/quant/kernels_avx2.c ${CMAKE_SOURCE_DIR}/src/quant/quantize_avx2.c
                              PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
  set_source_files_properties(
    ${CMAKE_SOURCE_DIR}/src/quant/kernels_avx512.c ${CMAKE_SOURCE_DIR}/src/quant/quantize_avx512.c
    PROPERTIES
      COMPILE_OPTIONS
      "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx512vbmi;-mavx512bitalg;-mavx2;-mfma;-mf16c;-mprefer-vector-width=512")
endif()

if(DS4_TESTS)
  add_executable(bench_quant ${CMAKE_SOURCE_DIR}/tests/bench/bench_quant.c)
  target_link_libraries(bench_quant PRIVATE ds4_flags ds4_quant)
  add_executable(bench_quantize ${CMAKE_SOURCE_DIR}/tests/bench/bench_quantize.c)
  target_link_libraries(bench_quantize PRIVATE ds4_flags ds4_quant)
endif()

# A sanitizer's build adds nothing here: the script compiles the Arm code by itself.
if(DS4_TESTS AND NOT DS4_SANITIZE)
  add_executable(neon_check ${CMAKE_SOURCE_DIR}/tests/unit/quant/neon_check.c)
  target_link_libraries(neon_check PRIVATE ds4_flags ds4_quant)
  add_test(NAME unit/quant_neon COMMAND ${CMAKE_SOURCE_DIR}/scripts/test-neon.sh $<TARGET_FILE:neon_check>)
  set_tests_properties(unit/quant_neon PROPERTIES LABELS unit TIMEOUT 600 SKIP_RETURN_CODE 77)
endif()
