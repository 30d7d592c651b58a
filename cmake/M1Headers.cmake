# Precompiled headers that targets share: each is carried by a target of its own, compiled with the options of the directory that
# adds it, which must be those of the targets that use it.
function(m1_add_headers name libraries) # HEADER...
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/${name}.cpp CONTENT "// Carries a precompiled header.\n")
  add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/${name}.cpp)
  target_link_libraries(${name} PRIVATE m1_options ${libraries})
  target_precompile_headers(${name} PRIVATE ${ARGN})
endfunction()

function(m1_reuse_headers target headers)
  target_precompile_headers(${target} REUSE_FROM ${headers})
  get_target_property(type ${target} TYPE)
  if(type STREQUAL EXECUTABLE)
    target_compile_options(${target} PRIVATE -fPIC) # like the header, not -fPIE
  endif()
endfunction()
