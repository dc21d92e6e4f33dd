# The server: its pure parts as unit tests, and the whole program as a black box (tests/api).
foreach(test http_parse json_out http_reply keys)
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/unit/server/test_${test}.c)
  add_executable(test_${test} ${source} ${CMAKE_SOURCE_DIR}/src/server/${test}.c)
  target_link_libraries(test_${test} PRIVATE ds4_flags ds4_base PkgConfig::CMOCKA PkgConfig::JSONC)
  add_test(NAME unit/test_${test} COMMAND test_${test})
  set_tests_properties(unit/test_${test} PROPERTIES LABELS unit TIMEOUT 120)
endforeach()
add_executable(test_response_store ${CMAKE_CURRENT_SOURCE_DIR}/unit/server/test_response_store.c
               ${CMAKE_SOURCE_DIR}/src/server/response_store.c)
target_link_libraries(test_response_store PRIVATE ds4_chat PkgConfig::CMOCKA)
add_test(NAME unit/test_response_store COMMAND test_response_store)
set_tests_properties(unit/test_response_store PROPERTIES LABELS unit TIMEOUT 120)

find_program(NODE node)
if(NODE AND TARGET ds4-server AND TARGET ds4-gguf)
  set(environment "DS4_SERVER_BINARY=$<TARGET_FILE:ds4-server>" "DS4_GGUF_BINARY=$<TARGET_FILE:ds4-gguf>")
  # RUN_SERIAL: they measure times, and each keeps all cores busy. Not under the address sanitizer, where times are no
  # matter and one thread computes: two of them fill two cores better than one with threads that wait for each other.
  set(serial RUN_SERIAL ON)
  if(DS4_SANITIZE MATCHES "thread") # all waiting times of the tests
    list(APPEND environment "DS4_TEST_SLOWDOWN=30")
  elseif(DS4_SANITIZE)
    list(APPEND environment "DS4_TEST_SLOWDOWN=20" "DS4_TEST_THREADS=1")
    set(serial)
  elseif(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    add_library(slow_open MODULE ${CMAKE_CURRENT_SOURCE_DIR}/api/slow_open.c)
    target_link_libraries(slow_open PRIVATE ${CMAKE_DL_LIBS})
    list(APPEND environment "DS4_TEST_SLOW_OPEN=$<TARGET_FILE:slow_open>")
  endif()
  file(GLOB api_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/api/*.test.mjs)
  # The page, the SDKs' own parsers, the served document; bodies whose parsers are fuzzed; all pairs of dials, whose rows
  # kv and steering copy, rewind and load, too.
  if(DS4_SANITIZE)
    list(FILTER api_tests EXCLUDE REGEX "/(webui|sdk|openapi|clients|steering_rows)[.]test")
  endif()
  foreach(test ${api_tests})
    get_filename_component(name ${test} NAME_WE)
    add_test(NAME api/${name} COMMAND ${NODE} --test --test-force-exit ${test})
    set_tests_properties(api/${name} PROPERTIES LABELS api TIMEOUT 1800 ${serial} ENVIRONMENT "${environment}")
  endforeach()
endif()
