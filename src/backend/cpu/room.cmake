# The same vector operations once per instruction set. -fno-trapping-math changes no value: it lets the compiler
# turn comparisons into vector selects.
set_source_files_properties(
  ${CMAKE_SOURCE_DIR}/src/backend/cpu/vector_ops_scalar.c PROPERTIES COMPILE_OPTIONS "-fno-trapping-math")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64|AMD64")
  set_source_files_properties(
    ${CMAKE_SOURCE_DIR}/src/backend/cpu/vector_ops_avx2.c PROPERTIES COMPILE_OPTIONS
                                                                     "-fno-trapping-math;-mavx2;-mfma")
  set_source_files_properties(
    ${CMAKE_SOURCE_DIR}/src/backend/cpu/vector_ops_avx512.c
    PROPERTIES COMPILE_OPTIONS
               "-fno-trapping-math;-mfma;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mprefer-vector-width=512")
endif()
