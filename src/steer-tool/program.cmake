# The plot of a sweep is drawn by cairo; without it the commands say that they cannot.
pkg_check_modules(CAIRO IMPORTED_TARGET cairo-png)
if(CAIRO_FOUND)
  target_link_libraries(ds4-steer PRIVATE PkgConfig::CAIRO)
  target_compile_definitions(ds4-steer PRIVATE DS4_HAVE_CAIRO)
else()
  message(STATUS "cairo was not found: ds4-steer is built without plots (Debian: libcairo2-dev, Homebrew: cairo)")
endif()
