# PCRE2 runs the pre-tokenizer's original regular expressions as an oracle; nothing but this test links it.
if(TARGET test_pretokenizer_pcre)
  pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
  target_link_libraries(test_pretokenizer_pcre PRIVATE PkgConfig::PCRE2)
endif()
