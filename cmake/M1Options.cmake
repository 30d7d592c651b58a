# Warnings, sanitizers and the CUDA toolkit, for every target of the project.
add_library(m1_options INTERFACE)
target_compile_options(m1_options INTERFACE
  $<$<COMPILE_LANGUAGE:C,CXX>:-Wall -Wextra -Wno-unused-parameter>
  $<$<AND:$<BOOL:${M1_WERROR}>,$<COMPILE_LANGUAGE:C,CXX>>:-Werror>)
if(M1_SANITIZE)
  target_compile_options(m1_options INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${M1_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer>)
  target_compile_definitions(m1_options INTERFACE M1_SANITIZED=1)
  target_link_options(m1_options INTERFACE -fsanitize=${M1_SANITIZE})
endif()
# For directories whose code is compiled for longer than it runs when sanitizers are in.
macro(m1_sanitized_without_optimization)
  if(M1_SANITIZE)
    add_compile_options(-O0)
  endif()
endmacro()

if(M1_FUZZ)
  target_compile_options(m1_options INTERFACE $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=fuzzer-no-link>)
  target_link_options(m1_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

find_package(Threads REQUIRED)

# CUDA is optional: without a toolkit everything but the CUDA kernels' own tests builds; m1-compile
# looks for one when it compiles for a GPU. M1_HAVE_CUDA says what was decided.
set(M1_HAVE_CUDA OFF)
if(NOT M1_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit 13.0 QUIET)
  if(CUDAToolkit_FOUND)
    set(M1_HAVE_CUDA ON)
  elseif(M1_CUDA STREQUAL "ON")
    message(FATAL_ERROR "M1_CUDA=ON, but no CUDA toolkit of version 13.0 or newer was found")
  endif()
endif()
if(M1_HAVE_CUDA)
  message(STATUS "CUDA: toolkit ${CUDAToolkit_VERSION}; the kernels' tests are built")
else()
  message(STATUS "CUDA: no toolkit; the kernels' tests are not built")
endif()
